// Search: finding what was said.
import assert from "node:assert/strict";
import { converse, eventually } from "./people.mjs";

await converse(async (person) => {
    const alice = await person("alice");
    const { room_id: roomId } = await alice.createRoom({ name: "Kitchen" });
    for (const body of ["The kettle is on", "and the cups are out", "Who has the kettles?"]) {
        await alice.sendTextMessage(roomId, body);
    }
    const found = async (term) => {
        const { results } = await alice.searchRoomEvents({ term });
        return results.map((result) => result.context.getEvent().getContent().body);
    };
    await eventually(async () => (await found("cups")).length === 1);
    assert.deepEqual(await found("cups"), ["and the cups are out"]);
    assert.deepEqual(new Set(await found("kettle")), new Set(["The kettle is on", "Who has the kettles?"]));
});
