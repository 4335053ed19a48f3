// One person, who does what is asked of them on stdin, a line each, and says on stdout what came of it: see ../../js_person.py
import { createInterface } from "node:readline";
import { MsgType } from "matrix-js-sdk";
import { CryptoEvent, decodeRecoveryKey, VerificationPhase } from "matrix-js-sdk/lib/crypto-api/index.js";
import {
    bySigningInAgain,
    device,
    encryptedFile,
    encryptedRoom,
    Keyring,
    makeIdentity,
    makeSecretStorage,
    openedFile,
    openSecrets,
    reaches,
    shown,
    untilSeen,
} from "../encrypted_people.mjs";
import { eventually } from "../people.mjs";

const [baseUrl, username] = process.argv.slice(2);
const keyring = new Keyring();
let client;
let verification;
let incoming;

function crypto() {
    return client.getCrypto();
}

function said(roomId, body) {
    return client
        .getRoom(roomId)
        ?.getLiveTimeline()
        .getEvents()
        .find((event) => event.getContent().body === body && event.getSender() !== client.getUserId());
}

async function hear(roomId, body) {
    await eventually(() => said(roomId, body));
    const event = said(roomId, body);
    const { shieldColour, shieldReason } = await crypto().getEncryptionInfoForEvent(event);
    return {
        event_id: event.getId(),
        sender: event.getSender(),
        type: event.getWireType(),
        content: event.getContent(),
        shield: shieldColour,
        shield_reason: shieldReason,
    };
}

const deeds = {
    // Sign in; once more is one more device.
    async signIn() {
        client?.stopClient();
        client = await device(baseUrl, username, keyring);
        client.on(CryptoEvent.VerificationRequestReceived, (request) => {
            incoming = request;
        });
        return { user_id: client.getUserId(), device_id: client.getDeviceId() };
    },
    async makeIdentity() {
        await makeIdentity(client);
    },
    async resetIdentity() {
        await crypto().resetEncryption(bySigningInAgain(client));
    },
    // Return the key that opens the secret storage.
    async makeSecretStorage() {
        const key = await makeSecretStorage(client);
        await eventually(async () => (await crypto().getActiveSessionBackupVersion()) !== null);
        return key;
    },
    async openSecrets(recoveryKey) {
        keyring.opensAll(decodeRecoveryKey(recoveryKey));
        const check = await openSecrets(client);
        return check?.trustInfo.trusted ?? false;
    },
    async isBackedUp(count) {
        const path = "/room_keys/version";
        const prefix = "/_matrix/client/v3";
        await eventually(async () => {
            const { count: now } = await client.http.authedRequest("GET", path, undefined, undefined, { prefix });
            return now >= count;
        });
    },
    async restore() {
        return (await crypto().restoreKeyBackup()).imported;
    },
    async room(userId) {
        const roomId = await encryptedRoom(client);
        await client.invite(roomId, userId);
        return roomId;
    },
    async join(roomId) {
        await client.joinRoom(roomId);
    },
    async seesMembers(roomId, count) {
        await untilSeen(roomId, count, client);
    },
    async say(roomId, body) {
        const { event_id: eventId } = await client.sendMessage(roomId, { msgtype: MsgType.Text, body });
        return eventId;
    },
    hear,
    async sendFile(roomId, name, data) {
        await client.sendMessage(roomId, await encryptedFile(client, name, Buffer.from(data, "base64")));
    },
    async readFile(roomId, name) {
        const { content } = await hear(roomId, name);
        return (await openedFile(client, content.file)).toString("base64");
    },
    async seesDevice(userId, deviceId) {
        await eventually(async () => (await crypto().getUserDeviceInfo([userId], true)).get(userId)?.has(deviceId));
    },
    async seesAsSigned(userId, deviceId) {
        await eventually(async () => {
            await crypto().getUserDeviceInfo([userId], true);
            return (await crypto().getDeviceVerificationStatus(userId, deviceId))?.signedByOwner;
        });
    },
    async trusts(userId, deviceId) {
        await eventually(async () => {
            const status = await crypto().getDeviceVerificationStatus(userId, deviceId);
            return status?.crossSigningVerified;
        });
    },
    // Ask somebody to compare, in a room, or one's own other devices.
    async askToCompare(userId, roomId) {
        verification = roomId
            ? await crypto().requestVerificationDM(userId, roomId)
            : await crypto().requestOwnUserVerification();
    },
    async beAskedToCompare() {
        await eventually(() => incoming);
        verification = incoming;
        incoming = undefined;
        await verification.accept();
    },
    async isReadyToCompare() {
        await reaches(verification, VerificationPhase.Ready);
    },
    // Return what is shown, once either side has begun.
    async compare(begin) {
        await eventually(() => verification.phase >= VerificationPhase.Ready);
        const verifier = begin
            ? await verification.startVerification("m.sas.v1")
            : await (async () => {
                  await reaches(verification, VerificationPhase.Started);
                  return verification.verifier;
              })();
        const shows = shown(verifier);
        verifier.verify().catch(() => {});
        verification.sas = await shows;
        return { emoji: verification.sas.sas.emoji.map(([emoji]) => emoji), decimal: verification.sas.sas.decimal };
    },
    // Show a code; return what is in it.
    async showCode() {
        await reaches(verification, VerificationPhase.Ready);
        return Buffer.from(await verification.generateQRCode()).toString("base64");
    },
    async scanCode(code) {
        await reaches(verification, VerificationPhase.Ready);
        const verifier = await verification.scanQRCode(new Uint8ClampedArray(Buffer.from(code, "base64")));
        verifier.verify().catch(() => {});
    },
    // Say that the other side has scanned our code.
    async confirmScan() {
        await eventually(() => verification.verifier?.getReciprocateQrCodeCallbacks());
        verification.verifier.getReciprocateQrCodeCallbacks().confirm();
        verification.verifier.verify().catch(() => {});
        await reaches(verification, VerificationPhase.Done);
    },
    async isDone() {
        await reaches(verification, VerificationPhase.Done);
    },
    async confirm() {
        await verification.sas.confirm();
        await reaches(verification, VerificationPhase.Done);
    },
};

for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...args] = JSON.parse(line);
    let answer;
    try {
        answer = { result: (await deeds[name](...args)) ?? null };
    } catch (error) {
        answer = { error: `${name}: ${error.stack}` };
    }
    process.stdout.write(`\n=> ${JSON.stringify(answer)}\n`);
}
process.exit(0);
