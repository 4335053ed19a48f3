self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

async function tell(message) {
    for (const client of await self.clients.matchAll({ includeUncontrolled: true })) client.postMessage(message);
}

async function authorized(request) {
    const { homeserver, token } = await (await caches.match("/session")).json();
    if (!request.url.startsWith(`${homeserver}/_matrix/client/v1/media/`)) return fetch(request);
    const headers = { Authorization: `Bearer ${token}` };
    const range = request.headers.get("range");
    if (range) headers.Range = range;
    const answer = await fetch(request.url, { headers });
    await tell({ kind: "media", url: request.url, range, status: answer.status });
    return answer;
}

self.addEventListener("fetch", (event) => {
    if (new URL(event.request.url).origin !== self.location.origin) event.respondWith(authorized(event.request));
});

async function show(pushed) {
    const { room_name, content } = pushed;
    await self.registration.showNotification(room_name ?? "Message", { body: content?.body, tag: "matrix" });
    await tell({ kind: "push", pushed });
}

self.addEventListener("push", (event) => event.waitUntil(show(event.data.json())));
