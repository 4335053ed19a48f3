// Spaces and upgrades: a space with a room, which moves to a new version.
import assert from "node:assert/strict";
import { EventType, RoomType } from "matrix-js-sdk";
import { converse, eventually, start } from "./people.mjs";

await converse(async (person) => {
    const alice = await person("alice");
    await start(alice);
    const { room_id: old } = await alice.createRoom({ name: "Tea", preset: "public_chat", room_version: "11" });
    const { room_id: space } = await alice.createRoom({ name: "Kitchen", creation_content: { type: RoomType.Space } });
    await alice.sendStateEvent(space, EventType.SpaceChild, { via: ["localhost"] }, old);
    const { rooms } = await alice.getRoomHierarchy(space);
    assert.deepEqual(rooms.map((room) => room.name), ["Kitchen", "Tea"]);
    const summary = await alice.getRoomSummary(old);
    assert.equal(summary.name, "Tea");

    const { replacement_room: next } = await alice.upgradeRoom(old, "12");
    await eventually(() => alice.getRoom(next)?.getMyMembership() === "join");
    assert.equal(alice.getRoom(next).getVersion(), "12");
    assert.equal(alice.getRoom(next).findPredecessor().roomId, old);
    await eventually(() => alice.getRoom(old).currentState.getStateEvents(EventType.RoomTombstone, ""));
});
