-- A call from the console's page "Talk to it" is a test: it is in no statistics, no figures and no news.
alter table calls add column is_test boolean;              -- none: true for a test; null for a call
