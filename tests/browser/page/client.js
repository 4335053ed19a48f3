// A client as small as it can be. It shows pictures and videos as Element does: by plain URLs, to which its service
// worker adds the access token.

let homeserver, token, registration;
const arrived = [];
const waiting = [];

navigator.serviceWorker.addEventListener("message", ({ data }) => {
    arrived.push(data);
    waiting.splice(0).forEach((wake) => wake());
});

async function call(method, path, body) {
    const headers = { "Content-Type": "application/json" };
    if (token) headers.Authorization = `Bearer ${token}`;
    const answer = await fetch(homeserver + path, { method, headers, body: body && JSON.stringify(body) });
    const json = await answer.json();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${json.errcode} ${json.error}`);
    return json;
}

async function signIn(url, user, password) {
    homeserver = url;
    const identifier = { type: "m.id.user", user };
    ({ access_token: token } = await call("POST", "/_matrix/client/v3/login", {
        type: "m.login.password", identifier, password,
    }));
    await (await caches.open("session")).put("/session", new Response(JSON.stringify({ homeserver, token })));
    await navigator.serviceWorker.register("worker.js");
    registration = await navigator.serviceWorker.ready;
    if (!navigator.serviceWorker.controller) {
        await new Promise((resolve) => { navigator.serviceWorker.oncontrollerchange = resolve; });
    }
}

async function upload(url, type, name) {
    const file = new File([await (await fetch(url)).blob()], name, { type });
    const answer = await fetch(`${homeserver}/_matrix/media/v3/upload?filename=${encodeURIComponent(name)}`, {
        method: "POST", headers: { Authorization: `Bearer ${token}`, "Content-Type": type }, body: file,
    });
    return (await answer.json()).content_uri;
}

const media = (kind, mxc, query = "") =>
    `${homeserver}/_matrix/client/v1/media/${kind}/${mxc.slice("mxc://".length)}${query}`;

// Shows a thumbnail, and returns its size and the colour in its middle, as it is seen.
async function showThumbnail(mxc, width, height) {
    const picture = document.getElementById("picture");
    picture.crossOrigin = "anonymous";
    picture.src = media("thumbnail", mxc, `?width=${width}&height=${height}&method=crop&animated=true`);
    await picture.decode();
    const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0);
    const colour = context.getImageData(canvas.width >> 1, canvas.height >> 1, 1, 1).data;
    return { width: canvas.width, height: canvas.height, colour: [...colour] };
}

const next = (target, event) => new Promise((resolve, reject) => {
    target.addEventListener(event, resolve, { once: true });
    target.addEventListener("error", () => reject(new Error(target.error?.message)), { once: true });
});

// Plays the beginning, jumps near the end and plays on there; returns how long the video is and how far it came.
async function playVideo(mxc, jumpTo) {
    const video = document.getElementById("video");
    const ready = next(video, "loadedmetadata");
    video.preload = "metadata";
    video.src = media("download", mxc);
    await ready;
    await video.play();
    while (video.currentTime < 0.2) await next(video, "timeupdate");
    const jumped = next(video, "seeked");
    video.currentTime = jumpTo;
    await jumped;
    while (video.currentTime < jumpTo + 0.2) await next(video, "timeupdate");
    video.pause();
    return { duration: video.duration, at: video.currentTime, width: video.videoWidth, height: video.videoHeight };
}

// As docs/web-push.md says. The endpoint is where the browser's maker serves it, which is elsewhere in a test.
async function subscribe(pushService) {
    const { capabilities } = await call("GET", "/_matrix/client/v3/capabilities");
    const { vapid } = capabilities["org.matrix.msc4174.webpush"];
    const subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: vapid });
    const { endpoint, keys } = subscription.toJSON();
    await call("POST", "/_matrix/client/v3/pushers/set", {
        kind: "webpush", app_id: "org.example.app", pushkey: keys.p256dh,
        data: { url: pushService + new URL(endpoint).pathname, auth: keys.auth },
        app_display_name: "Example", device_display_name: "A browser", lang: "en",
    });
    return endpoint;
}

// Returns what the service worker has told so far of one kind, once there is something.
async function heard(kind) {
    for (;;) {
        const found = arrived.filter((each) => each.kind === kind);
        if (found.length) return found;
        await new Promise((resolve) => waiting.push(resolve));
    }
}

async function notifications() {
    return (await registration.getNotifications()).map(({ title, body }) => ({ title, body }));
}

window.client = { signIn, upload, showThumbnail, playVideo, subscribe, heard, notifications };
