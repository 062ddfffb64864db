-- Chains of events: what verification asks, checkpoints, partitions.

-- name: chains
-- What there is of the chains of the requests $2 <= id < $3, and of the accounts' own chains $4 <= account id <= $5
-- (0: the platform's), under the key $1. One row a chain, however long it is.
WITH taken AS (
    SELECT * FROM events WHERE request_id >= $2::bigint AND request_id < $3::bigint
    UNION ALL
    SELECT * FROM events
    WHERE request_id IS NULL AND number IS NOT NULL AND coalesce(account_id, 0) BETWEEN $4::bigint AND $5::bigint
), marks AS (
    SELECT request_id, CASE WHEN request_id = 0 THEN account_id ELSE 0 END AS owner, max(account_id) AS account_id,
        coalesce(max(count) FILTER (WHERE kind = 'cut'), 0) AS cut,
        decode(max(encode(head, 'hex')) FILTER (WHERE kind = 'cut'), 'hex') AS cut_head,
        coalesce(max(count) FILTER (WHERE kind = 'checkpoint'), 0) AS checkpoint,
        decode(max(encode(head, 'hex')) FILTER (WHERE kind = 'checkpoint'), 'hex') AS checkpoint_head,
        bool_and(seal = event_checkpoint_seal($1, kind, account_id, request_id, count, head, at)) AS seals_fit
    FROM event_checkpoints
    WHERE (request_id >= $2 AND request_id < $3) OR (request_id = 0 AND account_id BETWEEN $4 AND $5)
    GROUP BY 1, 2
), linked AS (
    SELECT coalesce(e.request_id, 0) AS request_id, CASE WHEN e.request_id IS NULL THEN coalesce(e.account_id, 0) ELSE 0 END AS owner,
        e.account_id, e.client_id, e.number, e.kind, e.chain, m.checkpoint, m.checkpoint_head,
        e.number - lag(e.number, 1, coalesce(m.cut, 0)) OVER w AS step,
        e.chain IS NOT DISTINCT FROM event_chain_link(
            $1, lag(e.chain, 1, m.cut_head) OVER w, e.request_id, e.number, e.at, e.kind, e.account_id, e.client_id,
            e.actor, e.source, e.correlation_id, e.reason, e.detail
        ) AS fits,
        lead(e.number) OVER w IS NULL AS last
    FROM taken e LEFT JOIN marks m
        ON m.request_id = coalesce(e.request_id, 0) AND m.owner = CASE WHEN e.request_id IS NULL THEN coalesce(e.account_id, 0) ELSE 0 END
    WINDOW w AS (
        PARTITION BY coalesce(e.request_id, 0), CASE WHEN e.request_id IS NULL THEN coalesce(e.account_id, 0) ELSE 0 END
        ORDER BY e.number, e.id
    )
), found AS (
    SELECT request_id, owner, max(account_id) AS account_id, max(client_id) AS client_id, count(*) AS events,
        max(number) AS last_number,
        max(kind) FILTER (WHERE last) AS last_kind,
        decode(max(encode(chain, 'hex')) FILTER (WHERE last), 'hex') AS last_chain,
        -- The smallest number that does not follow, with its step.
        min(ARRAY[number, step]) FILTER (WHERE step <> 1 OR NOT fits) AS bad,
        bool_and(chain = checkpoint_head) FILTER (WHERE number = checkpoint) AS checkpoint_fits
    FROM linked GROUP BY 1, 2
), heads AS (
    SELECT id AS request_id, 0::bigint AS owner, account_id, client_id, events_count AS count, events_head AS head, true AS live
    FROM provision_requests WHERE id >= $2 AND id < $3
    UNION ALL
    SELECT request_id, CASE WHEN request_id = 0 THEN account_id ELSE 0 END, account_id, client_id, count, head, false
    FROM event_heads
    WHERE (request_id >= $2 AND request_id < $3) OR (request_id = 0 AND account_id BETWEEN $4 AND $5)
)
SELECT NULLIF(coalesce(h.account_id, f.account_id, m.account_id), 0) AS account_id, request_id,
    coalesce(h.client_id, f.client_id) AS client_id, coalesce(f.events, 0) AS events, f.last_number, f.last_kind,
    f.bad[1] AS bad_number, f.bad[2] AS bad_step, h.count AS head_count,
    h.head IS NOT DISTINCT FROM coalesce(f.last_chain, m.cut_head) AS head_fits, coalesce(h.live, false) AS live,
    coalesce(m.cut, 0) AS cut, coalesce(m.checkpoint, 0) AS checkpoint, coalesce(f.checkpoint_fits, true) AS checkpoint_fits,
    coalesce(m.seals_fit, true) AS seals_fit
FROM found f FULL JOIN heads h USING (request_id, owner) FULL JOIN marks m USING (request_id, owner)
ORDER BY request_id, owner;

-- name: last_request
-- The greatest request id that anything tells of.
SELECT greatest(
    (SELECT max(id) FROM provision_requests), (SELECT max(request_id) FROM event_heads),
    (SELECT max(request_id) FROM event_checkpoints), (SELECT max(request_id) FROM events), 0
);

-- name: requests_of
-- The chains of an account, or of a client id, by request id.
SELECT id FROM provision_requests
WHERE ($1::bigint IS NULL OR account_id = $1) AND ($2::text IS NULL OR client_id = $2)
UNION SELECT request_id FROM event_heads
WHERE request_id > 0 AND ($1 IS NULL OR account_id = $1) AND ($2 IS NULL OR client_id = $2)
UNION SELECT request_id FROM events
WHERE request_id IS NOT NULL AND ($1 IS NULL OR account_id = $1) AND ($2 IS NULL OR client_id = $2)
UNION SELECT request_id FROM event_checkpoints
WHERE request_id > 0 AND $2 IS NULL AND ($1 IS NULL OR account_id = $1)
ORDER BY 1;

-- name: chains_without_head
-- Requests that began a chain, as their account's chain says, of which nothing is left; and heads of deleted requests
-- that are not as their end was noted. (An edited detail that is no number shows as an edited event.)
SELECT e.account_id, n.id AS request_id, NULL::text AS client_id, 1::bigint AS number, 'request_removed' AS fault
FROM events e
CROSS JOIN LATERAL (
    SELECT value::bigint AS id FROM jsonb_path_query(e.detail, '$.requests[*] ? (@ > 0 && @ < 9000000000000000000)') q (value)
) n
WHERE e.kind = 'chains_begun' AND e.request_id IS NULL AND e.number IS NOT NULL
    AND ($1::bigint IS NULL OR e.account_id = $1)
    AND NOT EXISTS (SELECT FROM provision_requests q WHERE q.id = n.id)
    AND NOT EXISTS (SELECT FROM event_heads h WHERE h.request_id = n.id)
    -- Where events of it are left the chain itself is found.
    AND NOT EXISTS (SELECT FROM events o WHERE o.request_id = n.id)
UNION ALL
SELECT e.account_id, n.id, h.client_id, coalesce(h.count, 1), 'head_changed'
FROM events e
CROSS JOIN LATERAL (
    SELECT jsonb_path_query_first(e.detail, '$.request ? (@ > 0 && @ < 9000000000000000000)')::bigint AS id
) n
JOIN event_heads h ON h.request_id = n.id
WHERE e.kind = 'chain_ended' AND e.request_id IS NULL AND e.number IS NOT NULL
    AND ($1 IS NULL OR e.account_id = $1)
    AND (to_jsonb(h.count) IS DISTINCT FROM e.detail -> 'count' OR encode(h.head, 'hex') IS DISTINCT FROM e.detail ->> 'head');

-- name: unchained
-- What claims to be an administrator's change and is in no chain, though all of them are since there are such chains.
SELECT e.account_id, 0::bigint AS request_id, e.client_id, e.id AS number, 'added' AS fault
FROM events e
WHERE e.number IS NULL AND e.source IN ('cli', 'api') AND ($1::bigint IS NULL OR e.account_id = $1)
    AND e.id > (SELECT min(id) FROM events WHERE request_id IS NULL AND number IS NOT NULL)
ORDER BY e.id LIMIT 1000;

-- name: digests_told
-- What the last event of its kind said of all checkpoints, and of all cuts, and what they are.
SELECT k.kind, e.account_id, e.number, event_checkpoints_digest(k.kind) = (e.detail ->> 'digest') AS fits
FROM (VALUES ('checkpoint', 'events_checkpointed'), ('cut', 'events_dropped')) k (kind, event)
CROSS JOIN LATERAL (
    SELECT account_id, number, detail FROM events
    WHERE kind = k.event AND request_id IS NULL AND account_id IS NULL AND number IS NOT NULL ORDER BY number DESC LIMIT 1
) e;

-- name: fit_lines
-- Which lines of a checkpoint's file (account, request, count, head) no longer hold.
SELECT NULLIF(l.account_id, 0) AS account_id, l.request_id, coalesce(q.client_id, h.client_id) AS client_id, l.count AS number,
    CASE
        WHEN coalesce(q.events_count, h.count) IS NULL THEN CASE WHEN l.request_id = 0 THEN 'head_changed' ELSE 'request_removed' END
        WHEN coalesce(q.events_count, h.count) < l.count THEN 'cut_off'
        ELSE 'edited'
    END AS fault
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[]) l (account_id, request_id, count, head)
LEFT JOIN provision_requests q ON q.id = l.request_id
LEFT JOIN event_heads h ON h.request_id = l.request_id AND h.account_id = l.account_id
WHERE coalesce(q.events_count, h.count, 0) < l.count OR NOT (
    EXISTS (SELECT FROM events e WHERE l.request_id > 0 AND e.request_id = l.request_id AND e.number = l.count AND e.chain = l.head)
    OR EXISTS (
        SELECT FROM events e
        WHERE l.request_id = 0 AND e.request_id IS NULL AND coalesce(e.account_id, 0) = l.account_id AND e.number = l.count
            AND e.chain = l.head
    )
    -- Dropped since, behind a later checkpoint.
    OR EXISTS (
        SELECT FROM event_checkpoints c
        WHERE c.account_id = l.account_id AND c.request_id = l.request_id AND c.kind = 'cut'
            AND (c.count > l.count OR (c.count = l.count AND c.head = l.head))
    )
);

-- name: accounts
SELECT id, name FROM accounts WHERE $1::bigint IS NULL OR id = $1 ORDER BY id;

-- name: write_checkpoint
SELECT write_event_checkpoint($1);

-- name: digest
SELECT event_checkpoints_digest($1);

-- name: checkpoint_page
-- Checkpoints after one, in order.
SELECT account_id, request_id, count, encode(head, 'hex') AS head FROM event_checkpoints
WHERE kind = 'checkpoint' AND (account_id, request_id) > ($1, $2) ORDER BY account_id, request_id LIMIT $3;

-- name: make_partitions
SELECT make_event_partitions();

-- name: drop_partitions
SELECT drop_event_partitions($1, $2);
