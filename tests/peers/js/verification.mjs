// Cross-signing: made on the first device, handed to the second by comparing emoji, and between two people.
import assert from "node:assert/strict";
import { bySigningInAgain, device, encryptedRoom, makeIdentity, talk, verify } from "./encrypted_people.mjs";
import { converse, eventually } from "./people.mjs";

await converse(async (person) => {
    const alice = await person("alice");
    await makeIdentity(alice);
    const phone = await person("alice");
    assert.ok(!(await phone.getCrypto().isCrossSigningReady()));

    await verify(phone, alice, (crypto) => crypto.requestOwnUserVerification());
    await eventually(() => trusts(alice, phone));
    await eventually(() => trusts(phone, alice));
    await eventually(() => phone.getCrypto().isCrossSigningReady());

    const bob = await person("bob");
    await makeIdentity(bob);
    const roomId = await encryptedRoom(alice, bob);
    await talk(roomId, "Hello Bob", alice, bob, phone);
    assert.ok(!(await trusts(bob, phone)));
    await verify(alice, bob, (crypto) => crypto.requestVerificationDM(bob.getUserId(), roomId));
    await eventually(() => trusts(bob, alice));
    await eventually(() => trusts(bob, phone));
    await eventually(() => trusts(alice, bob));
    // The phone learns from the server whom its owner has vouched for.
    await eventually(() => trusts(phone, bob));

    // Who takes another identity is not who was verified.
    const before = await bob.getCrypto().getCrossSigningKeyId();
    await bob.getCrypto().resetEncryption(bySigningInAgain(bob));
    assert.notEqual(await bob.getCrypto().getCrossSigningKeyId(), before);
    await eventually(async () => !(await trusts(alice, bob)));
    const status = await alice.getCrypto().getUserVerificationStatus(bob.getUserId());
    assert.ok(status.wasCrossSigningVerified() && !status.isCrossSigningVerified());
}, device);

async function trusts(client, other) {
    const status = await client.getCrypto().getDeviceVerificationStatus(other.getUserId(), other.getDeviceId());
    return status !== null && status.crossSigningVerified;
}
