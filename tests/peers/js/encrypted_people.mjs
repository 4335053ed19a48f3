// People whose clients encrypt, with the library's own Rust cryptography in WebAssembly; and what they do with it.
import assert from "node:assert/strict";
import { createClient, EventType, MatrixEventEvent, MsgType } from "matrix-js-sdk";
import { CryptoEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent } from "matrix-js-sdk/lib/crypto-api/index.js";
import { eventually, PASSWORD, start, until } from "./people.mjs";

// Keys of secret storage, of one person: whoever has one opens it.
export class Keyring {
    #keys = new Map();

    callbacks() {
        return {
            getSecretStorageKey: async ({ keys }) => {
                const id = Object.keys(keys).find((one) => this.#keys.has(one));
                return id === undefined ? null : [id, this.#keys.get(id)];
            },
            cacheSecretStorageKey: (id, _, key) => this.#keys.set(id, key),
        };
    }
}

// Sign in with one more device, which encrypts; the first one makes the account.
export async function device(baseUrl, username, keyring = new Keyring()) {
    const account = createClient({ baseUrl });
    const session = (await account.isUsernameAvailable(username))
        ? await account.registerRequest({ username, password: PASSWORD, auth: { type: "m.login.dummy" } })
        : await account.loginRequest({
              type: "m.login.password",
              identifier: { type: "m.id.user", user: username },
              password: PASSWORD,
          });
    const client = createClient({
        baseUrl,
        userId: session.user_id,
        deviceId: session.device_id,
        accessToken: session.access_token,
        cryptoCallbacks: keyring.callbacks(),
        verificationMethods: ["m.sas.v1"],
    });
    await client.initRustCrypto({ useIndexedDB: false });
    await start(client);
    await eventually(() => knows(client, client));
    return client;
}

// Show the password to whoever asks for it before the keys are taken.
export function bySigningInAgain(client) {
    return async (request) => {
        try {
            return await request(null);
        } catch (error) {
            const { session } = error.data;
            const identifier = { type: "m.id.user", user: client.getUserId() };
            return request({ type: "m.login.password", identifier, password: PASSWORD, session });
        }
    };
}

// Make the cross-signing keys of a person, on their first device.
export async function makeIdentity(client) {
    await client.getCrypto().bootstrapCrossSigning({ authUploadDeviceSigningKeys: bySigningInAgain(client) });
    assert.ok(await client.getCrypto().isCrossSigningReady());
}

// Open what the first device put into secret storage, on another one; return what is to be known of the key backup.
export async function openSecrets(client) {
    assert.ok(await client.getCrypto().userHasCrossSigningKeys(client.getUserId(), true));
    await client.getCrypto().bootstrapCrossSigning({});
    assert.ok(await client.getCrypto().isCrossSigningReady());
    await client.getCrypto().loadSessionBackupPrivateKeyFromSecretStorage();
    return client.getCrypto().checkKeyBackupAndEnable();
}

// Put the secrets of the first device into secret storage, and begin a key backup.
export async function makeSecretStorage(client) {
    await client.getCrypto().bootstrapSecretStorage({
        createSecretStorageKey: () => client.getCrypto().createRecoveryKeyFromPassphrase("wonderland"),
        setupNewSecretStorage: true,
        setupNewKeyBackup: true,
    });
    assert.ok(await client.getCrypto().isSecretStorageReady());
}

export async function encryptedRoom(host, ...guests) {
    const { room_id: roomId } = await host.createRoom({
        preset: "private_chat",
        invite: guests.map((guest) => guest.getUserId()),
        initial_state: [
            { type: EventType.RoomEncryption, state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } },
        ],
    });
    for (const guest of guests) await guest.joinRoom(roomId);
    await untilSeen(roomId, 1 + guests.length, host, ...guests);
    return roomId;
}

// Return when everybody knows of so many members: who is known is who can read.
export async function untilSeen(roomId, count, ...clients) {
    await eventually(() =>
        clients.every((client) => {
            const room = client.getRoom(roomId);
            return room?.hasEncryptionStateEvent() && room.getJoinedMemberCount() === count;
        }),
    );
}

// Return when a text has come that was encrypted, and its event.
export async function untilDecrypted(client, body) {
    const [event] = await until(client, MatrixEventEvent.Decrypted, (one) => one.getContent().body === body);
    assert.equal(event.getWireType(), "m.room.encrypted");
    return event;
}

export async function talk(roomId, body, speaker, ...listeners) {
    const heard = listeners.map((listener) => untilDecrypted(listener, body));
    await speaker.sendMessage(roomId, { msgtype: MsgType.Text, body });
    return Promise.all(heard);
}

// Let two devices compare emoji; whoever is asked agrees to it, once they have heard of the device that asks.
export async function verify(asking, asked, ask) {
    await eventually(() => knows(asked, asking));
    const received = until(asked, CryptoEvent.VerificationRequestReceived, () => true);
    const near = await ask(asking.getCrypto());
    const [far] = await received;
    const ready = reaches(near, VerificationPhase.Ready);
    await far.accept();
    await ready;
    const farStarts = reaches(far, VerificationPhase.Started);
    const nearVerifier = await near.startVerification("m.sas.v1");
    const nearShows = shown(nearVerifier);
    const nearDone = nearVerifier.verify();
    await farStarts;
    const farShows = shown(far.verifier);
    const farDone = far.verifier.verify();
    const [nearSas, farSas] = await Promise.all([nearShows, farShows]);
    assert.equal(nearSas.sas.emoji.length, 7);
    assert.deepEqual(nearSas.sas.emoji, farSas.sas.emoji);
    assert.deepEqual(nearSas.sas.decimal, farSas.sas.decimal);
    await Promise.all([nearSas.confirm(), farSas.confirm()]);
    await Promise.all([nearDone, farDone]);
    await Promise.all([reaches(near, VerificationPhase.Done), reaches(far, VerificationPhase.Done)]);
}

async function knows(client, other) {
    const known = await client.getCrypto().getUserDeviceInfo([other.getUserId()], true);
    return known.get(other.getUserId())?.has(other.getDeviceId());
}

async function reaches(request, phase) {
    if (request.phase < phase) await until(request, VerificationRequestEvent.Change, () => request.phase >= phase);
    assert.equal(request.phase, phase);
}

async function shown(verifier) {
    const [callbacks] = await until(verifier, VerifierEvent.ShowSas, () => true);
    return callbacks;
}

// Return what a device has of the texts of a room, decrypted where it can be.
export function bodies(client, roomId) {
    const events = client.getRoom(roomId)?.getLiveTimeline().getEvents() ?? [];
    return events.map((event) => event.getContent().body);
}
