"use strict";
// The viewer of an adaptation's page: four images scrolled together, one grey scale, a sphere.

const shown = JSON.parse(document.getElementById("shown").textContent);
const PANELS = ["input", "before", "after", "difference"];
const INVERSE_GREY = { R: [255, 0], G: [255, 0], B: [255, 0], A: [255, 255], I: [0, 255] };
const BLUE_TO_RED = {
  R: [33, 146, 247, 244, 178],
  G: [102, 197, 247, 165, 24],
  B: [172, 222, 247, 130, 43],
  A: [255, 255, 255, 255, 255],
  I: [0, 64, 128, 192, 255],
};
const SPHERE_COLOUR = { R: [0, 0], G: [0, 120], B: [0, 60], A: [0, 255], I: [0, 1], labels: ["", "sphere"] };
const LARGEST = 32767;

const viewers = {}; // panel -> Niivue
const stored = {}; // input, before, after -> Int16Array of stored values
let shape = [];
let place = shown.start.slice(); // the sphere's centre, voxels

const element = (id) => document.getElementById(id);

// Units: Bq/mL, or SUV where dose, weight and times are known.

function unit() {
  const isSuv = element("unit").value === "SUV";
  return { name: isSuv ? "SUV" : "Bq/mL", bqml: isSuv ? shown.suv_bqml : 1, digits: isSuv ? 2 : 0 };
}

function inUnit(bqml) {
  const { bqml: factor, digits } = unit();
  return (bqml / factor).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// What the panels show.

function blend() {
  const share = element("blend").value / 100;
  const { before, after } = stored;
  const image = viewers.after.volumes[0].img;

  for (let i = 0; i < image.length; i++) image[i] = Math.round((1 - share) * before[i] + share * after[i]);
  viewers.after.updateGLVolume();

  const between = `${Math.round(100 * share)} % of the way from before to after`;
  element("title-after").textContent = share === 1 ? "After" : share === 0 ? "Before (slider)" : between;
}

function subtract() {
  const [minuend, subtrahend] = element("difference-of").value.split(" ");
  const image = viewers.difference.volumes[0].img;

  for (let i = 0; i < image.length; i++) {
    const value = stored[minuend][i] - stored[subtrahend][i];
    image[i] = Math.max(-LARGEST, Math.min(LARGEST, value));
  }
  viewers.difference.updateGLVolume();
}

function setWindow() {
  const top = (shown.window_bqml * element("window").value) / 100;
  const side = (top * element("difference-window").value) / 100;

  for (const name of PANELS) {
    const volume = viewers[name].volumes[0];
    volume.cal_min = name === "difference" ? -side : 0;
    volume.cal_max = name === "difference" ? side : top;
    viewers[name].updateGLVolume();
  }

  element("grey-high").textContent = `${inUnit(top)} ${unit().name}`;
  element("difference-low").textContent = `−${inUnit(side)}`;
  element("difference-high").textContent = `+${inUnit(side)} ${unit().name}`;
}

// The sphere.

function voxelsOfSphere() {
  const radius = Number(element("radius").value);
  const reach = shown.voxel_mm.map((size) => Math.floor(radius / size));
  const [nx, ny, nz] = shape;
  const inside = [];

  for (let dz = -reach[2]; dz <= reach[2]; dz++)
    for (let dy = -reach[1]; dy <= reach[1]; dy++)
      for (let dx = -reach[0]; dx <= reach[0]; dx++) {
        const distance = Math.hypot(dx * shown.voxel_mm[0], dy * shown.voxel_mm[1], dz * shown.voxel_mm[2]);
        const [x, y, z] = [place[0] + dx, place[1] + dy, place[2] + dz];
        const isIn = x >= 0 && y >= 0 && z >= 0 && x < nx && y < ny && z < nz;
        if (distance <= radius && isIn) inside.push(x + nx * (y + ny * z));
      }

  return inside;
}

function statistics(values, voxels) {
  let sum = 0;
  let squares = 0;
  let largest = -Infinity;
  for (const i of voxels) {
    sum += values[i];
    squares += values[i] * values[i];
    largest = Math.max(largest, values[i]);
  }

  const mean = sum / voxels.length;
  const variance = Math.max(0, squares / voxels.length - mean * mean);
  const deviation = Math.sqrt((variance * voxels.length) / Math.max(1, voxels.length - 1));
  return { mean: mean * shown.slope, deviation: deviation * shown.slope, largest: largest * shown.slope };
}

function measure() {
  const voxels = voxelsOfSphere();
  const rows = ["input", "before", "after"].map((name) => {
    const { mean, deviation, largest } = statistics(stored[name], voxels);
    const noise = mean > 0 ? `${((100 * deviation) / mean).toFixed(1)} %` : "–";
    return `<tr><td>${name}</td><td>${inUnit(mean)}</td><td>${inUnit(largest)}</td><td>${noise}</td></tr>`;
  });

  element("measures").innerHTML = rows.join("");
  for (const head of document.querySelectorAll(".unit")) head.textContent = unit().name;
  element("sphere-size").textContent = `${element("radius").value} mm, ${voxels.length} voxels`;
  return voxels;
}

function drawSphere() {
  const voxels = measure();

  for (const name of PANELS) {
    const viewer = viewers[name];
    viewer.drawBitmap.fill(0);
    for (const i of voxels) viewer.drawBitmap[i] = 1;
    viewer.refreshDrawing(true);
  }
}

function goTo(voxel) {
  place = voxel.map((v, axis) => Math.max(0, Math.min(shape[axis] - 1, Math.round(v))));
  drawSphere();
}

// Start.

async function open(name) {
  const viewer = new niivue.Niivue({
    backColor: [1, 1, 1, 1],
    crosshairColor: [0, 0.45, 0.25, 0.55],
    crosshairWidth: 0.3,
    crosshairGap: 8,
    fontColor: [0.35, 0.35, 0.35, 1],
    multiplanarPadPixels: 4,
    multiplanarShowRender: 0,
    textHeight: 0.045,
    isColorbar: false,
    loadingText: "",
    logLevel: "error",
  });
  await viewer.attachTo(`canvas-${name}`);

  const source = { input: 0, before: 1, after: 2, difference: 2 }[name];
  const volume = await niivue.NVImage.loadFromBase64({ base64: shown.volumes[source], name: `${name}.nii.gz` });
  if (name !== "difference") stored[name] = volume.img.slice();
  viewer.addColormap("inverse-grey", INVERSE_GREY);
  viewer.addColormap("blue-to-red", BLUE_TO_RED);
  volume.colormap = name === "difference" ? "blue-to-red" : "inverse-grey";
  viewer.addVolume(volume);
  shape = volume.dims.slice(1, 4);

  viewer.setSliceType(viewer.sliceTypeMultiplanar);
  viewer.createEmptyDrawing();
  viewer.setDrawColormap(SPHERE_COLOUR);
  viewer.drawRimOpacity = 1;
  viewer.setDrawOpacity(0.02);
  viewers[name] = viewer;
}

function connect() {
  for (const name of PANELS) {
    const others = PANELS.filter((other) => other !== name).map((other) => viewers[other]);
    viewers[name].broadcastTo(others, { "2d": true, "3d": false });
    viewers[name].onLocationChange = (location) => goTo(Array.from(location.vox).slice(0, 3));
  }

  element("blend").oninput = blend;
  element("difference-of").onchange = subtract;
  element("window").oninput = setWindow;
  element("difference-window").oninput = setWindow;
  element("radius").oninput = drawSphere;
  element("unit").onchange = () => {
    setWindow();
    measure();
  };
  element("smooth").onchange = () => {
    for (const name of PANELS) viewers[name].setInterpolation(!element("smooth").checked);
  };
}

async function start() {
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new Error("this browser has no WebGL 2, which the viewer draws with");
  }

  if (shown.suv_bqml === null) element("unit").value = "Bq/mL";
  element("unit").disabled = shown.suv_bqml === null;

  for (const name of PANELS) await open(name);
  connect();
  subtract();
  blend();
  setWindow();

  for (const name of PANELS) {
    const viewer = viewers[name];
    viewer.scene.crosshairPos = viewer.vox2frac(place);
  }
  drawSphere();
  for (const name of PANELS) viewers[name].drawScene();
}

start().then(
  () => (document.documentElement.dataset.state = "ready"),
  (error) => {
    document.documentElement.dataset.state = "failed";
    element("viewer-error").textContent = `The viewer cannot start: ${error.message}`;
  },
);
