// How people come into rooms and out of them: by the directory, by knocking, by looking in first; and what is left then.
import assert from "node:assert/strict";
import { createClient, JoinRule, KnownMembership, RoomEvent, RoomStateEvent, Visibility } from "matrix-js-sdk";
import { converse, eventually, start, until, untilSaid } from "./people.mjs";

function bodies(room) {
    return room
        .getLiveTimeline()
        .getEvents()
        .filter((event) => event.getType() === "m.room.message")
        .map((event) => event.getContent().body);
}

async function theDirectory(alice, bob) {
    const { room_id: space } = await alice.createRoom({
        name: "Garden",
        visibility: Visibility.Public,
        preset: "public_chat",
        creation_content: { type: "m.space" },
    });
    const { room_id: roomId } = await alice.createRoom({
        name: "Roses",
        topic: "red and white",
        visibility: Visibility.Public,
        preset: "public_chat",
        room_alias_name: "roses",
    });
    const found = async (filter) => (await bob.publicRooms({ limit: 10, filter })).chunk.map((room) => room.room_id);
    assert.deepEqual(await found({ generic_search_term: "WHITE" }), [roomId]);
    assert.deepEqual(await found({ room_types: ["m.space"] }), [space]);
    assert.deepEqual(await found({ room_types: [null] }), [roomId]);
    const summary = await bob.getRoomSummary("#roses:localhost", []).catch(() => bob.getRoomSummary(roomId, []));
    assert.equal(summary.name, "Roses");
    assert.equal(summary.join_rule, JoinRule.Public);
    await bob.joinRoom(roomId);
    await eventually(() => bob.getRoom(roomId)?.getMyMembership() === KnownMembership.Join);
    return roomId;
}

async function knocking(alice, bob) {
    const { room_id: roomId } = await alice.createRoom({
        name: "Door",
        preset: "private_chat",
        initial_state: [{ type: "m.room.join_rules", state_key: "", content: { join_rule: JoinRule.Knock } }],
    });
    await eventually(() => alice.getRoom(roomId));
    const asked = until(
        alice,
        RoomStateEvent.Members,
        (_event, _state, member) => member.roomId === roomId && member.membership === KnownMembership.Knock,
    );
    await bob.knockRoom(roomId, { reason: "It rains" });
    const [event] = await asked;
    assert.equal(event.getContent().reason, "It rains");
    await eventually(() => bob.getRoom(roomId)?.getMyMembership() === KnownMembership.Knock);
    await alice.invite(roomId, bob.getUserId());
    await eventually(() => bob.getRoom(roomId)?.getMyMembership() === KnownMembership.Invite);
    await bob.joinRoom(roomId);
    await eventually(() => bob.getRoom(roomId)?.getMyMembership() === KnownMembership.Join);
}

async function lookingIn(alice, bob) {
    const { room_id: roomId } = await alice.createRoom({
        name: "Window",
        preset: "public_chat",
        initial_state: [
            { type: "m.room.history_visibility", state_key: "", content: { history_visibility: "world_readable" } },
        ],
    });
    await alice.sendTextMessage(roomId, "seen from outside");
    const room = await bob.peekInRoom(roomId);
    assert.ok(bodies(room).includes("seen from outside"));
    let isHeard = false;
    const heard = untilSaid(bob, "heard from outside").then(() => (isHeard = true));
    // The library asks for what comes from when that request arrives, and does not tell when it does.
    while (!isHeard) await alice.sendTextMessage(roomId, "heard from outside");
    await heard;
    bob.stopPeeking();
}

async function leaving(alice, bob, roomId) {
    await alice.sendTextMessage(roomId, "before");
    await eventually(() => bodies(bob.getRoom(roomId)).includes("before"));
    await bob.leave(roomId);
    await alice.sendTextMessage(roomId, "after");
    await eventually(() => bob.getRoom(roomId).getMyMembership() === KnownMembership.Leave);
    // The library tells of left rooms only whom has not seen them yet.
    const anew = createClient({ baseUrl: bob.baseUrl, userId: bob.getUserId(), accessToken: bob.getAccessToken() });
    await start(anew);
    assert.equal(anew.getRoom(roomId), null);
    assert.deepEqual((await anew.syncLeftRooms()).map((room) => room.roomId), [roomId]);
    await anew.scrollback(anew.getRoom(roomId), 30);
    anew.stopClient();
    for (const client of [anew, bob]) {
        assert.ok(bodies(client.getRoom(roomId)).includes("before"));
        assert.ok(!bodies(client.getRoom(roomId)).includes("after"));
    }
    await bob.forget(roomId);
    assert.equal(bob.getRoom(roomId), null);
    await assert.rejects(bob.createMessagesRequest(roomId, null, 10, "b"), { errcode: "M_FORBIDDEN" });
    await alice.invite(roomId, bob.getUserId());
    await eventually(() => bob.getRoom(roomId)?.getMyMembership() === KnownMembership.Invite);
    await bob.joinRoom(roomId);
    await eventually(() => bodies(bob.getRoom(roomId)).includes("after"));
}

async function ignoring(alice, bob, carol, roomId) {
    await carol.joinRoom(roomId);
    await bob.setIgnoredUsers([carol.getUserId()]);
    await eventually(() => bob.isUserIgnored(carol.getUserId()));
    const seen = [];
    bob.on(RoomEvent.Timeline, (event) => seen.push(event.getContent().body));
    await carol.sendTextMessage(roomId, "you do not hear this");
    await carol.createRoom({ invite: [bob.getUserId()], name: "Trap" });
    const heard = untilSaid(bob, "but this you do");
    await alice.sendTextMessage(roomId, "but this you do");
    await heard;
    assert.ok(!seen.includes("you do not hear this"));
    assert.ok(!bob.getRooms().some((room) => room.name === "Trap"));
    assert.equal(bob.getRoom(roomId).getUnreadNotificationCount(), 1);
    await bob.setIgnoredUsers([]);
}

async function upgrading(alice, bob) {
    const { room_id: old } = await alice.createRoom({ name: "Nest", preset: "public_chat", room_version: "10" });
    await bob.joinRoom(old);
    await bob.setRoomTag(old, "m.favourite", { order: 0.25 });
    await bob.setRoomMutePushRule("global", old, true);
    const { replacement_room: replacement } = await alice.upgradeRoom(old, "12");
    await eventually(
        () => bob.getRoom(old).currentState.getStateEvents("m.room.tombstone", "")?.getContent().replacement_room,
    );
    await bob.joinRoom(replacement);
    await eventually(() => bob.getRoom(replacement)?.tags["m.favourite"]?.order === 0.25);
    assert.equal(bob.getRoom(replacement).findPredecessor().roomId, old);
    assert.equal(bob.getRoom(replacement).name, "Nest");
    await eventually(() => bob.getRoomPushRule("global", replacement)?.actions.length === 0);
    const history = bob.getRoomUpgradeHistory(replacement, true);
    assert.deepEqual(history.map((room) => room.roomId), [old, replacement]);
}

await converse(async (person) => {
    const alice = await person("alice");
    const bob = await person("bob");
    const carol = await person("carol");
    await start(alice);
    await start(bob);
    const roomId = await theDirectory(alice, bob);
    await knocking(alice, bob);
    await lookingIn(alice, bob);
    await leaving(alice, bob, roomId);
    await ignoring(alice, bob, carol, roomId);
    await upgrading(alice, bob);
});
