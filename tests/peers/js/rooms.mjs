// Rooms: signing in, joining, talking, reading back, leaving.
import assert from "node:assert/strict";
import { createClient, EventType, MsgType, ReceiptType, RoomMemberEvent } from "matrix-js-sdk";
import { converse, eventually, start, until, untilSaid } from "./people.mjs";

await converse(async (person) => {
    const alice = await person("alice");
    const bob = await person("bob");
    await start(alice);
    await start(bob);

    const { room_id: roomId } = await alice.createRoom({ name: "Tea", topic: "Green", preset: "private_chat" });
    await eventually(() => alice.getRoom(roomId));
    await alice.invite(roomId, bob.getUserId());
    await eventually(() => bob.getRoom(roomId)?.getMyMembership() === "invite");
    await eventually(() => bob.getRoom(roomId).name === "Tea");
    await bob.joinRoom(roomId);
    await eventually(() => bob.getRoom(roomId)?.getMyMembership() === "join");
    // What Alice says before she has heard of it stands before it in her timeline, and then so does what Bob has read.
    await eventually(() => alice.getRoom(roomId).getMember(bob.getUserId())?.membership === "join");

    const heard = untilSaid(bob, "Hello");
    const { event_id: eventId } = await alice.sendMessage(roomId, { msgtype: MsgType.Text, body: "Hello" });
    const [event] = await heard;
    assert.equal(event.getId(), eventId);
    assert.equal(event.getSender(), alice.getUserId());

    await bob.sendReceipt(event, ReceiptType.Read);
    await eventually(() => alice.getRoom(roomId).getUsersReadUpTo(event).includes(bob.getUserId()));
    const typing = until(alice, RoomMemberEvent.Typing, (_, member) => member.typing);
    await bob.sendTyping(roomId, true, 20_000);
    await typing;
    await bob.sendEvent(roomId, EventType.Reaction, {
        "m.relates_to": { rel_type: "m.annotation", event_id: eventId, key: "👋" },
    });
    await alice.setRoomName(roomId, "Coffee");
    await eventually(() => bob.getRoom(roomId).name === "Coffee");
    await alice.redactEvent(roomId, eventId);
    await eventually(() => bob.getRoom(roomId).findEventById(eventId).isRedacted());

    for (let number = 0; number < 30; number += 1) await alice.sendTextMessage(roomId, `${number}`);
    const later = createClient({ baseUrl: process.argv[2] });
    const session = await later.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: "bob" },
        password: "a good long password",
    });
    assert.equal(session.user_id, bob.getUserId());
    const page = await bob.createMessagesRequest(roomId, null, 100, "b");
    assert.equal(page.chunk.filter((one) => /^\d+$/.test(one.content.body ?? "")).length, 30);

    await alice.setRoomTag(roomId, "m.favourite", { order: 0.5 });
    await eventually(() => alice.getRoom(roomId).tags["m.favourite"]);
    await bob.leave(roomId);
    await eventually(() => alice.getRoom(roomId).getMember(bob.getUserId()).membership === "leave");
    await bob.logout(true);
});
