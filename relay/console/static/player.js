// Plays the recording of a call. A click in the waveform or on a line's time plays from that moment. The line that is
// being played is marked. The speed can be changed.
const sound = document.getElementById("sound");
const wave = document.getElementById("wave");
const lines = [...document.querySelectorAll(".line[data-at]")];

function unpack(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

if (sound && wave) {
  const stretches = JSON.parse(wave.dataset.peaks).map((each) => ({ ...each, pairs: unpack(each.pairs) }));
  const wholeMs = Math.max(
    1000 * Number(wave.getAttribute("aria-valuemax")),
    ...stretches.map((each) => each.from_ms + (each.pairs.length / 2) * each.step_ms),
  );

  const draw = () => {
    const scale = window.devicePixelRatio || 1;
    const width = wave.clientWidth * scale;
    const height = wave.clientHeight * scale;
    wave.width = width;
    wave.height = height;
    const paint = wave.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const played = (sound.currentTime * 1000) / wholeMs;
    paint.clearRect(0, 0, width, height);
    for (const { from_ms: fromMs, step_ms: stepMs, pairs } of stretches) {
      for (let index = 0; index < pairs.length; index += 2) {
        const x = ((fromMs + (index / 2) * stepMs) / wholeMs) * width;
        const stepWidth = Math.max(1, (stepMs / wholeMs) * width - 0.5);
        paint.fillStyle = style.getPropertyValue(x / width < played ? "--accent" : "--soft");
        // A peak is on mu-law's scale from 0 to 127, where a difference of 16 is 6 dB. The height of a bar is the
        // square of its peak, which is closer to how loud a person hears the sound.
        const caller = (pairs[index] / 127) ** 2 * (height / 2 - 2);
        const agent = (pairs[index + 1] / 127) ** 2 * (height / 2 - 2);
        paint.fillRect(x, height / 2 - 1 - caller, stepWidth, caller);
        paint.fillRect(x, height / 2 + 1, stepWidth, agent);
      }
    }
  };

  const playFrom = (ms) => {
    sound.currentTime = ms / 1000;
    sound.play();
  };

  const follow = () => {
    const nowMs = sound.currentTime * 1000;
    wave.setAttribute("aria-valuenow", sound.currentTime.toFixed(1));
    for (const line of lines) {
      const isNow = !sound.paused && nowMs >= Number(line.dataset.at) && nowMs < Number(line.dataset.to);
      line.classList.toggle("playing", isNow);
    }
    draw();
  };

  sound.addEventListener("timeupdate", follow);
  sound.addEventListener("pause", follow);
  wave.addEventListener("click", (event) => playFrom((event.offsetX / wave.clientWidth) * wholeMs));
  wave.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -5, ArrowRight: 5, PageDown: -30, PageUp: 30 };
    if (event.key in steps) sound.currentTime = Math.max(0, sound.currentTime + steps[event.key]);
    else if (event.key === " " || event.key === "Enter") sound.paused ? sound.play() : sound.pause();
    else return;
    event.preventDefault();
  });
  document.getElementById("story")?.addEventListener("click", (event) => {
    const button = event.target.closest("[data-play]");
    if (button) playFrom(Number(button.dataset.play));
  });
  for (const speed of document.querySelectorAll("input[name=speed]")) {
    speed.addEventListener("change", () => { sound.playbackRate = Number(speed.value); });
  }
  window.addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}
