// Sliding sync: a window of rooms, what happens in it, and a room that is subscribed to.
import assert from "node:assert/strict";
import { SlidingSync, SlidingSyncEvent } from "matrix-js-sdk/lib/sliding-sync.js";
import { converse, eventually, start, until } from "./people.mjs";

await converse(async (person) => {
    const alice = await person("alice");
    const bob = await person("bob");
    const rooms = [];
    for (let number = 0; number < 5; number += 1) {
        const { room_id: roomId } = await alice.createRoom({ name: `Room ${number}`, preset: "public_chat" });
        await bob.joinRoom(roomId);
        rooms.push(roomId);
    }
    const wanted = { timeline_limit: 5, required_state: [["m.room.name", ""], ["m.room.member", "$LAZY"]] };
    const lists = new Map([["all", { ranges: [[0, 1]], ...wanted }]]);
    const sliding = new SlidingSync(process.argv[2], lists, { timeline_limit: 1, required_state: [] }, bob, 30_000);
    const first = until(sliding, SlidingSyncEvent.Lifecycle, (state) => state === "COMPLETE");
    await start(bob, { slidingSync: sliding });
    await first;
    assert.equal(sliding.getListData("all").joinedCount, 5);
    await eventually(() => bob.getRooms().length === 2);
    assert.deepEqual(new Set(bob.getRooms().map((room) => room.name)), new Set(["Room 3", "Room 4"]));

    await alice.sendTextMessage(rooms[0], "Hello");
    const said = (roomId) => bob.getRoom(roomId)?.getLiveTimeline().getEvents().map((event) => event.getContent().body);
    await eventually(() => said(rooms[0])?.includes("Hello"));

    sliding.modifyRoomSubscriptions(new Set([rooms[1]]));
    await eventually(() => bob.getRoom(rooms[1]));
    await alice.sendTextMessage(rooms[1], "You too");
    await eventually(() => said(rooms[1])?.includes("You too"));
    sliding.setListRanges("all", [[0, 9]]);
    await eventually(() => bob.getRooms().length === 5);
    sliding.stop();
});
