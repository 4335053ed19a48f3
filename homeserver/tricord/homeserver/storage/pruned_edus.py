"""SQL that bounds what waits for servers that are away, or never come back."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction


async def prune_outgoing_edus(tx: Transaction, away_before_ts: int, gone_before_ts: int, most: int) -> int:
    """Delete EDUs that are too old to be of use to servers that are away; return how many.

    For those that have been away since before some time, only the newest change of devices and of identity of each user
    waits: it makes them ask for the rest. For those that have been since before another time, nothing does. For none
    wait more than so many, the newest.

    What an EDU is about is read from how it begins, as `device_list_edus.py` writes it.
    """
    deleted = 0
    for statement, arguments in (
        (
            """
            DELETE FROM outgoing_edus o USING destinations d
            WHERE d.server_name = o.server_name AND d.failing_since_ts < $1
            """,
            (gone_before_ts,),
        ),
        (
            """
            WITH changes AS MATERIALIZED (
                SELECT o.server_name, o.number, substring(
                    convert_from(o.edu, 'UTF8')
                    FROM '^{"edu_type":"m[.](?:device_list|signing_key)_update","content":{"user_id":"[^"]*"'
                ) AS what
                FROM outgoing_edus o JOIN destinations d USING (server_name) WHERE d.failing_since_ts < $1
            ), newest AS (
                SELECT server_name, what, max(number) AS number FROM changes WHERE what IS NOT NULL GROUP BY 1, 2
            )
            DELETE FROM outgoing_edus o USING changes c JOIN newest n USING (server_name, what)
            WHERE o.server_name = c.server_name AND o.number = c.number AND c.number < n.number
            """,
            (away_before_ts,),
        ),
        (
            """
            WITH ranked AS (
                SELECT server_name, number,
                    row_number() OVER (PARTITION BY server_name ORDER BY number DESC) AS place
                FROM outgoing_edus WHERE server_name IN (
                    SELECT server_name FROM outgoing_edus GROUP BY server_name HAVING count(*) > $1
                )
            )
            DELETE FROM outgoing_edus o USING ranked r
            WHERE r.server_name = o.server_name AND r.number = o.number AND r.place > $1
            """,
            (most,),
        ),
    ):
        deleted += int((await tx.execute(statement, *arguments)).rpartition(" ")[2])
    return deleted
