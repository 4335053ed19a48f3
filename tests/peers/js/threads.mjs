// Threads: answering in one, listing them, finding the answers.
import assert from "node:assert/strict";
import { MsgType, RelationType } from "matrix-js-sdk";
import { converse, eventually, start } from "./people.mjs";

await converse(async (person) => {
    const alice = await person("alice");
    const bob = await person("bob");
    await start(bob);
    const { room_id: roomId } = await alice.createRoom({ preset: "public_chat" });
    await bob.joinRoom(roomId);
    const { event_id: root } = await alice.sendTextMessage(roomId, "What do you think?");
    for (const body of ["This", "and that"]) {
        await alice.sendMessage(roomId, {
            msgtype: MsgType.Text,
            body,
            "m.relates_to": { rel_type: RelationType.Thread, event_id: root },
        });
    }
    await eventually(() => bob.getRoom(roomId)?.getThread(root)?.length === 2);
    const { events } = await bob.relations(roomId, root, RelationType.Thread, null);
    assert.deepEqual(events.map((event) => event.getContent().body), ["and that", "This"]);
    const listed = await bob.createThreadListMessagesRequest(roomId, null, 10);
    assert.deepEqual(listed.chunk.map((event) => event.event_id), [root]);
    assert.equal(listed.chunk[0].unsigned["m.relations"]["m.thread"].count, 2);
});
