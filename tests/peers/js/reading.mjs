// Reading: what is unread where, an old message with what is around it, a date, edits, and who said it.
import assert from "node:assert/strict";
import { createClient, Direction, MsgType, NotificationCountType, ReceiptType, RelationType } from "matrix-js-sdk";
import { converse, eventually, start } from "./people.mjs";

async function threads(alice, bob, roomId) {
    const { event_id: root } = await alice.sendTextMessage(roomId, "What do you think?");
    const answer = (client, body) =>
        client.sendMessage(roomId, {
            msgtype: MsgType.Text,
            body,
            "m.relates_to": { rel_type: RelationType.Thread, event_id: root },
        });
    // The library loses track of the first answer in a thread if it hears it before it is told that it has been sent.
    const deaf = createClient({ baseUrl: alice.baseUrl, userId: alice.getUserId(), accessToken: alice.getAccessToken() });
    await answer(deaf, "This");
    await answer(deaf, `and that, ${bob.getUserId()}`);
    const room = bob.getRoom(roomId);
    const unread = (kind) => room.getThreadUnreadNotificationCount(root, kind);
    await eventually(() => unread(NotificationCountType.Total) === 2);
    assert.equal(room.getRoomUnreadNotificationCount(NotificationCountType.Total), 1);
    await eventually(() => room.getThread(root)?.replyToEvent?.getContent().body.startsWith("and that"));
    await bob.sendReceipt(room.getThread(root).replyToEvent, ReceiptType.Read);
    await eventually(() => unread(NotificationCountType.Total) === 0);
    assert.equal(room.getRoomUnreadNotificationCount(NotificationCountType.Total), 1);
    await bob.sendReceipt(room.findEventById(root), ReceiptType.ReadPrivate);
    await eventually(() => room.getRoomUnreadNotificationCount(NotificationCountType.Total) === 0);
    await room.createThreadsTimelineSets();
    await room.fetchRoomThreads();
    assert.deepEqual(room.threadsTimelineSets[0].getLiveTimeline().getEvents().map((event) => event.getId()), [root]);
    await answer(bob, "Neither");
    await eventually(() => alice.getRoom(roomId).getThread(root)?.length === 3);
}

async function longAgo(alice, bob, roomId) {
    const said = [];
    for (let number = 0; number < 60; number += 1) {
        said.push((await alice.sendTextMessage(roomId, `number ${number}`)).event_id);
    }
    await eventually(() => bob.getRoom(roomId).findEventById(said.at(-1)));
    // Bob has heard it all; on another device he begins with the last few.
    const anew = createClient({
        baseUrl: bob.baseUrl,
        userId: bob.getUserId(),
        accessToken: bob.getAccessToken(),
        timelineSupport: true,
    });
    await start(anew, { initialSyncLimit: 5 });
    const room = anew.getRoom(roomId);
    assert.equal(room.findEventById(said[20]), undefined);
    const timeline = await anew.getEventTimeline(room.getUnfilteredTimelineSet(), said[20]);
    const numbers = () => {
        const found = [];
        // Where two parts of the history meet, the library makes them neighbours.
        for (let part = timeline; part; part = part.getNeighbouringTimeline(Direction.Forward)) {
            found.push(...part.getEvents().map((event) => event.getContent().body));
        }
        return found.filter((body) => body?.startsWith("number")).map((body) => Number(body.slice(7)));
    };
    assert.ok(numbers().includes(20));
    while (!numbers().includes(0)) assert.ok(await anew.paginateEventTimeline(timeline, { backwards: true, limit: 10 }));
    while (!numbers().includes(59)) assert.ok(await anew.paginateEventTimeline(timeline, { limit: 10 }));
    assert.deepEqual(numbers(), Array.from({ length: 60 }, (_, number) => number));
    const then = timeline.getEvents().find((event) => event.getId() === said[30]).getTs();
    const { event_id: found } = await bob.timestampToEvent(roomId, then, Direction.Forward);
    assert.ok(said.slice(0, 31).includes(found));
    await anew.setRoomReadMarkers(roomId, said[40], room.findEventById(said[59]));
    await eventually(() => bob.getRoom(roomId).getAccountData("m.fully_read")?.getContent().event_id === said[40]);
    anew.stopClient();
}

async function edits(alice, bob, roomId) {
    const { event_id: eventId } = await alice.sendTextMessage(roomId, "Teh tea");
    await eventually(() => bob.getRoom(roomId).findEventById(eventId));
    await alice.sendMessage(roomId, {
        msgtype: MsgType.Text,
        body: "* The tea",
        "m.new_content": { msgtype: MsgType.Text, body: "The tea" },
        "m.relates_to": { rel_type: RelationType.Replace, event_id: eventId },
    });
    await eventually(() => bob.getRoom(roomId).findEventById(eventId).getContent().body === "The tea");
    const fetched = await bob.fetchRoomEvent(roomId, eventId);
    assert.equal(fetched.content.body, "Teh tea");
    assert.equal(fetched.unsigned["m.relations"]["m.replace"].content["m.new_content"].body, "The tea");
    await bob.sendEvent(roomId, "m.reaction", {
        "m.relates_to": { rel_type: RelationType.Annotation, event_id: eventId, key: "☕" },
    });
    const { events } = await alice.relations(roomId, eventId, RelationType.Annotation, "m.reaction");
    assert.deepEqual(events.map((event) => event.getRelation().key), ["☕"]);
}

async function people(alice, bob, roomId) {
    await alice.setDisplayName("Alice Tea");
    await alice.setExtendedProfileProperty("m.tz", "Europe/Vienna");
    await eventually(() => bob.getRoom(roomId).getMember(alice.getUserId()).name === "Alice Tea");
    assert.equal(await bob.getExtendedProfileProperty(alice.getUserId(), "m.tz"), "Europe/Vienna");
    await eventually(async () => {
        const { results } = await bob.searchUserDirectory({ term: "tea" });
        return results.length === 1 && results[0].user_id === alice.getUserId();
    });
    assert.deepEqual(await bob._unstable_getSharedRooms(alice.getUserId()), [roomId]);
    const { event_id: eventId } = await alice.sendTextMessage(roomId, "Buy my leaves");
    await bob.reportEvent(roomId, eventId, -100, "advertisement");
    await bob.reportRoom(roomId, "advertisement");
}

await converse(async (person) => {
    const alice = await person("alice");
    const bob = await person("bob");
    await start(alice);
    await start(bob);
    const { room_id: roomId } = await alice.createRoom({ preset: "public_chat" });
    await bob.joinRoom(roomId);
    await eventually(() => bob.getRoom(roomId)?.getMyMembership() === "join");
    await eventually(() => alice.getRoom(roomId)?.getMember(bob.getUserId()));
    await threads(alice, bob, roomId);
    await longAgo(alice, bob, roomId);
    await edits(alice, bob, roomId);
    await people(alice, bob, roomId);
});
