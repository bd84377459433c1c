// Plays one recorded episode. The page contains the data, three.js (THREE), figure.js and this
// script.

const reward = floats(data.reward); // (frames,)
const total = reward.map(((sum) => (r) => (sum += r))(0));
const range = { reward: extremes(reward), total: extremes(total) };
const HAZE = 0xdfe7ee;

const IDS =
  "stage play scrub plot clock speed follow home reward total legend trouble".split(" ");
const page = Object.fromEntries(IDS.map((id) => [id, document.getElementById(id)]));
const player = { time: 0, playing: true, follow: true };

/** Minimum and maximum of the values and 0; the two always differ. */
function extremes(values) {
  const low = values.reduce((x, y) => Math.min(x, y), 0);
  return [low, values.reduce((x, y) => Math.max(x, y), low + 1e-9)];
}

// ---------------------------------------------------------------- scene

/** Texture of a square of 2 m x 2 m of the floor: four checks of 1 m with finer lines. */
function tile() {
  const side = 512; // pixels
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const pen = canvas.getContext("2d");
  for (let i = 0; i < 4; i++) {
    pen.fillStyle = (i + (i >> 1)) % 2 ? "#b9c6d3" : "#c6d1dc";
    pen.fillRect((i % 2) * 256, (i >> 1) * 256, 256, 256);
  }
  for (let i = 0; i <= 8; i++) {
    pen.strokeStyle = i % 4 ? "rgba(60,80,105,.16)" : "rgba(45,62,88,.45)";
    pen.lineWidth = i % 4 ? 1.5 : 3;
    pen.beginPath();
    pen.moveTo(i * 64, 0);
    pen.lineTo(i * 64, side);
    pen.moveTo(0, i * 64);
    pen.lineTo(side, i * 64);
    pen.stroke();
  }
  const texture = new THREE.CanvasTexture(canvas);
  texture.wrapS = texture.wrapT = THREE.RepeatWrapping;
  texture.colorSpace = THREE.SRGBColorSpace;
  texture.anisotropy = 16;
  return texture;
}

function floorOf(place_, size) {
  const texture = tile();
  texture.repeat.set(size / 2, size / 2);
  const floor = new THREE.Mesh(
    new THREE.PlaneGeometry(size, size),
    new THREE.MeshStandardMaterial({ map: texture, roughness: 0.95, envMapIntensity: 0.6 }),
  );
  floor.receiveShadow = true;
  return place(floor, place_);
}

/** Middle of the figure in each frame, and its mean height over the episode [m]. */
const middles = Array.from({ length: data.frames }, (_, frame) => middle(frame));
const meanHeight = middles.reduce((sum, { z }) => sum + z, 0) / data.frames;

/**
 * Point that the camera looks at: the middle of the figure at its mean height over the episode, or
 * closer to the figure's own height if it would leave the picture.
 */
function aim(frame, radius) {
  const target = middles[frame].clone();
  const rise = 0.35 * radius;
  target.z = Math.min(target.z + rise, Math.max(target.z - rise, meanHeight));
  return target;
}

function build() {
  const renderer = new THREE.WebGLRenderer({ canvas: page.stage, antialias: true });
  renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
  renderer.shadowMap.enabled = true;
  renderer.shadowMap.type = THREE.PCFShadowMap;
  renderer.toneMapping = THREE.NeutralToneMapping;

  const radius = reach();
  const scene = new THREE.Scene();
  scene.background = new THREE.Color(HAZE);
  scene.fog = new THREE.Fog(HAZE, 9 * radius, 40 * radius);
  const room = new THREE.RoomEnvironment();
  scene.environment = new THREE.PMREMGenerator(renderer).fromScene(room, 0.04).texture;
  scene.environmentIntensity = 0.4;

  const sun = new THREE.DirectionalLight(0xfff1e0, 2.5);
  sun.castShadow = true;
  sun.shadow.mapSize.set(2048, 2048);
  sun.shadow.radius = 4;
  sun.shadow.normalBias = 0.02 * radius;
  const box = sun.shadow.camera;
  [box.left, box.right, box.bottom, box.top] = [-4, 4, -4, 4].map((x) => x * radius);
  [box.near, box.far] = [0.1 * radius, 30 * radius];
  scene.add(sun, sun.target, new THREE.HemisphereLight(0xeaf3ff, 0xb9a48c, 0.35));

  const travelled = Math.max(...middles.map((point) => point.length()));
  const size = 4 * Math.ceil(travelled + 30 * radius); // whole checks on each side of the origin
  const planes = data.geoms.filter(isFloor);
  const ground = planes.length ? planes : [{ pos: [0, 0, lowest()], quat: [1, 0, 0, 0] }];
  scene.add(...ground.map((geom) => floorOf(geom, size)));

  for (const part of parts) scene.add(part.object);

  const camera = new THREE.PerspectiveCamera(38, 1, 0.02 * radius, 100 * radius);
  camera.up.set(0, 0, 1);
  const orbit = new THREE.OrbitControls(camera, page.stage);
  orbit.enableDamping = true;
  orbit.maxPolarAngle = 0.495 * Math.PI; // keeps the camera above the ground
  orbit.minDistance = 1.2 * radius;
  orbit.maxDistance = 30 * radius;
  return { renderer, scene, sun, camera, orbit, radius };
}

// ---------------------------------------------------------------- playing

const last = data.frames - 1;
const frameAt = (time) => Math.min(last, Math.max(0, Math.round(time / data.dt)));
const round = (x) => (Math.abs(x) >= 1000 ? Math.round(x).toLocaleString("en") : x.toPrecision(3));

/** Move camera and light along with the figure so that it stays in the picture. */
function follow(world, frame) {
  const target = aim(frame, world.radius);
  world.sun.target.position.copy(target);
  world.sun.position.copy(target).add(new THREE.Vector3(-3, -4, 8).multiplyScalar(world.radius));
  if (!player.follow) return;
  world.camera.position.add(target).sub(world.orbit.target);
  world.orbit.target.copy(target);
}

function goHome(world) {
  player.follow = true;
  page.follow.setAttribute("aria-pressed", true);
  const target = aim(frameAt(player.time), world.radius);
  world.orbit.target.copy(target);
  const offset = new THREE.Vector3(1.9, -3.1, 1.15).multiplyScalar(world.radius);
  world.camera.position.copy(target).add(offset);
}

function show(frame) {
  for (const part of parts) part.show(frame);
  page.reward.textContent = round(reward[frame]);
  page.total.textContent = round(total[frame]);
  page.clock.textContent = `${(frame * data.dt).toFixed(2)} / ${(last * data.dt).toFixed(2)} s`;
  page.scrub.value = frame;
  plot(frame);
}

function setPlaying(playing) {
  if (playing && frameAt(player.time) === last) player.time = 0;
  player.playing = playing;
  const shape = playing ? "M3 2h4v12H3zM9 2h4v12H9z" : "M4 2l10 6-10 6z";
  page.play.innerHTML = `<svg width="16" height="16"><path d="${shape}"/></svg>`;
}

function seek(frame) {
  setPlaying(false);
  player.time = Math.min(last, Math.max(0, frame)) * data.dt;
}

/** Plot the reward per step (blue) and the sum so far (orange, own scale) behind the time line. */
function plot(frame) {
  const pen = page.plot.getContext("2d");
  const [width, height] = [page.plot.clientWidth, page.plot.clientHeight];
  const sharp = Math.min(devicePixelRatio, 2);
  if (page.plot.width !== width * sharp) {
    Object.assign(page.plot, { width: width * sharp, height: height * sharp });
  }
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, width, height);
  const x = (i) => 2 + ((width - 4) * i) / Math.max(last, 1);
  const curve = (values, [low, high], colour) => {
    const y = (v) => height - 4 - ((height - 8) * (v - low)) / (high - low);
    for (const [from, to, alpha] of [[0, frame, 1], [frame, last, 0.35]]) {
      pen.beginPath();
      for (let i = from; i <= to; i++) pen.lineTo(x(i), y(values[i]));
      pen.globalAlpha = alpha;
      pen.strokeStyle = colour;
      pen.lineWidth = 1.6;
      pen.stroke();
    }
  };
  pen.fillStyle = "rgba(29,39,51,.07)";
  pen.fillRect(0, 0, x(frame), height);
  curve(reward, range.reward, "#2a6fdb");
  curve(total, range.total, "#e8702a");
  pen.globalAlpha = 1;
  pen.fillStyle = "#1d2733";
  pen.fillRect(x(frame) - 1, 0, 2, height);
}

function resize(world) {
  world.renderer.setSize(innerWidth, innerHeight, false);
  world.camera.aspect = innerWidth / innerHeight;
  world.camera.updateProjectionMatrix();
}

function connect(world) {
  const toggleFollow = () => {
    player.follow = !player.follow;
    page.follow.setAttribute("aria-pressed", player.follow);
  };
  const keys = {
    " ": () => setPlaying(!player.playing),
    ArrowLeft: () => seek(frameAt(player.time) - 1),
    ArrowRight: () => seek(frameAt(player.time) + 1),
    f: toggleFollow,
    r: () => goHome(world),
  };
  page.scrub.max = last;
  page.legend.hidden = !data.activation;
  page.play.onclick = () => setPlaying(!player.playing);
  page.scrub.oninput = () => seek(page.scrub.valueAsNumber);
  page.follow.onclick = toggleFollow;
  page.home.onclick = () => goHome(world);
  onresize = () => resize(world);
  // what a page with several replays tells each
  onmessage = ({ data: { time, playing, speed } }) => {
    if (time !== undefined) player.time = time;
    if (playing !== undefined) setPlaying(playing);
    if (speed !== undefined) page.speed.value = speed;
  };
  onkeydown = (event) => {
    if (!keys[event.key] || (event.key === " " && event.target.tagName === "BUTTON")) return;
    event.preventDefault();
    keys[event.key]();
  };
}

/** Time at which the page opens paused [s]: 2.5 for an address that ends in `#t=2.5`, else null. */
function openingTime() {
  const time = parseFloat(new URLSearchParams(location.hash.slice(1)).get("t"));
  return Number.isFinite(time) ? time : null;
}

function run() {
  document.documentElement.classList.toggle("framed", window.parent !== window);
  const world = build();
  resize(world);
  connect(world);
  setPlaying(true);
  if (openingTime() !== null) seek(frameAt(openingTime()));
  goHome(world);
  let before = performance.now();
  let shown = -1;
  world.renderer.setAnimationLoop((now) => {
    if (player.playing) player.time += ((now - before) / 1000) * Number(page.speed.value);
    before = now;
    if (player.playing && player.time >= last * data.dt) seek(last);
    const frame = frameAt(player.time);
    if (frame !== shown) show((shown = frame));
    follow(world, frame);
    world.orbit.update();
    world.renderer.render(world.scene, world.camera);
  });
}

try {
  run();
} catch (error) {
  page.trouble.hidden = false;
  page.trouble.textContent =
    `The replay cannot be drawn: ${error.message}. It needs a browser with WebGL 2.`;
  throw error;
}
