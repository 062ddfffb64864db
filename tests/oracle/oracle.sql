-- The oracle: who may connect and who may use which topic, decided a second time by another hand, from design.md
-- (D1, D4, D5, D6, D9, 4.1, 4.2, 4.4), docs/access.md, docs/states.md and docs/credentials.md. It calls no function of
-- the product and is asked as the superuser, on the plain tables.
--
-- $1: questions, a JSON array of {n, broker, username, password, client_id, clean, topic, acc}. `password` says whose it
--     is: current, previous (before a rotation), wrong, none (empty). `topic` is null where no Postgres text can hold it.
-- $2: the provision account's name · $3: longest client id · $4: narrow REPLY
-- Answers: n, connect (allow | deny | held), access (boolean).
WITH asked AS (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS t(
        n bigint, broker text, username text, password text, client_id text, clean boolean, topic text, acc bigint)
), client AS (
    SELECT DISTINCT broker, username, client_id FROM asked
), platform AS (
    SELECT clock_timestamp() AS now, coalesce((SELECT outage FROM heartbeats WHERE process = 'hooks'), '0') AS outage
), run AS (
    -- Runs that are under way and in time: what was lost to outages since a run began is added to its deadline.
    SELECT r.user_id, q.account_id, q.client_id
    FROM provision_runs r JOIN provision_requests q ON q.id = r.request_id CROSS JOIN platform p
    WHERE r.ended_at IS NULL AND q.state = 'RUNNING' AND p.now < r.confirm_by + (p.outage - r.outage)
), claim AS (
    SELECT client_id, account_id FROM provision_requests UNION SELECT client_id, account_id FROM devices
), moved AS (
    -- To whom the client id was moved last, of those who still have something under it.
    SELECT DISTINCT ON (r.client_id) r.client_id, r.to_account_id AS account_id
    FROM releases r JOIN claim c ON c.client_id = r.client_id AND c.account_id = r.to_account_id
    WHERE r.used_at IS NOT NULL ORDER BY r.client_id, r.used_at DESC
), holder AS (
    SELECT client_id, account_id FROM moved
    UNION ALL
    SELECT c.client_id, c.account_id FROM claim c
    WHERE NOT EXISTS (SELECT FROM moved m WHERE m.client_id = c.client_id)
        AND NOT EXISTS (
            SELECT FROM releases r JOIN claim o ON o.client_id = r.client_id AND o.account_id = r.account_id
            WHERE r.client_id = c.client_id AND r.to_account_id = c.account_id AND r.used_at IS NULL
        )
), move AS (
    -- Releases that the new account has a request for, before their end date, or with a run from before it.
    SELECT r.client_id, r.account_id AS from_id, r.to_account_id AS to_id
    FROM releases r
    JOIN provision_requests q ON q.client_id = r.client_id AND q.account_id = r.to_account_id
        AND q.state <> 'PROVISIONED'  -- else it is what an earlier move left there
    CROSS JOIN platform p
    WHERE r.used_at IS NULL AND r.cancelled_at IS NULL
        AND (r.expires_on > p.now
            OR EXISTS (SELECT FROM run WHERE run.client_id = r.client_id AND run.account_id = r.to_account_id))
), subject AS (
    SELECT c.broker, c.username, c.client_id, b.id AS broker_id, b.role, u.id AS user_id, u.kind, u.confirmed_at,
        a.id AS account_id, a.name AS account, a.mandatory_provisioning, a.device_connection_coupling AS coupling,
        c.username ~ '^[A-Za-z0-9_-]{3,255}$' COLLATE "C" AND c.client_id ~ '^[A-Za-z0-9_.:-]+$' COLLATE "C"
            AND position('::' IN c.client_id) = 0 AND length(c.client_id) <= $3 AS well_named,
        u.enabled AND a.enabled AND NOT EXISTS (
            SELECT FROM devices d WHERE d.account_id = a.id AND d.client_id = c.client_id AND NOT d.enabled
        ) AS enabled,
        ARRAY(SELECT permission FROM user_permissions p WHERE p.user_id = u.id) AS may,
        NOT EXISTS (SELECT FROM holder h WHERE h.client_id = c.client_id)
            OR EXISTS (SELECT FROM holder h WHERE h.client_id = c.client_id AND h.account_id = a.id) AS holds,
        EXISTS (SELECT FROM move m WHERE m.client_id = c.client_id AND m.from_id = a.id) AS gives,
        EXISTS (SELECT FROM move m WHERE m.client_id = c.client_id AND m.to_id = a.id) AS takes
    FROM client c
    LEFT JOIN brokers b ON b.name = c.broker
    LEFT JOIN users u ON u.name = c.username
    LEFT JOIN accounts a ON a.id = u.account_id
), on_provision AS (
    SELECT s.broker, s.username, s.client_id FROM subject s
    WHERE s.role = 'provision' AND s.kind = 'provision' AND s.well_named AND s.enabled
        AND EXISTS (
            SELECT FROM provision_requests q
            WHERE q.account_id = s.account_id AND q.client_id = s.client_id AND q.user_id = s.user_id AND q.enabled
        )
        AND (s.takes OR (s.holds AND NOT s.gives))
), on_account AS (
    SELECT s.* FROM subject s
    CROSS JOIN LATERAL (
        SELECT s.kind = 'device' AND s.confirmed_at IS NULL AS first_login,
            EXISTS (SELECT FROM run r WHERE r.user_id = s.user_id AND r.client_id = s.client_id) AS of_run
    ) AS login
    WHERE s.role = 'account' AND s.kind IN ('device', 'person') AND s.well_named AND s.enabled
        AND EXISTS (SELECT FROM broker_accounts x WHERE x.broker_id = s.broker_id AND x.account_id = s.account_id)
        AND 'broker:connect' = ANY (s.may)
        AND (of_run OR NOT first_login)
        AND (s.holds OR (first_login AND s.takes))
        -- Nor, for an account that has no device there, a client id that another account's client used.
        AND (first_login
            OR EXISTS (SELECT FROM devices d WHERE d.account_id = s.account_id AND d.client_id = s.client_id)
            OR NOT EXISTS (
                SELECT FROM device_connections o WHERE o.account_id <> s.account_id AND o.client_id = s.client_id
            ))
        AND (NOT s.mandatory_provisioning OR first_login
            OR EXISTS (
                SELECT FROM provision_requests q
                WHERE q.account_id = s.account_id AND q.client_id = s.client_id AND q.state = 'PROVISIONED'
            )
            OR (s.kind = 'person' AND s.may && ARRAY['device:manage', 'data:manage', 'data:view']))
), coupled AS (
    SELECT s.* FROM on_account s
    LEFT JOIN device_connections c ON c.account_id = s.account_id AND c.client_id = s.client_id
    WHERE NOT EXISTS (
            SELECT FROM device_connections o
            WHERE o.account_id = s.account_id AND o.reserved_user_id = s.user_id AND o.client_id <> s.client_id
        )
        AND CASE
            WHEN c.id IS NULL THEN true
            WHEN c.reserved_user_id IS NOT NULL THEN c.reserved_user_id = s.user_id
            WHEN coalesce(nullif(c.coupling, 'INHERITED'), s.coupling) = 'LOOSE' THEN true
            ELSE c.user_id IS NULL OR c.user_id = s.user_id OR c.allow_user_change
        END
), responder AS (
    SELECT s.broker, s.username, s.client_id, s.role FROM subject s JOIN users u ON u.id = s.user_id
    WHERE s.username = '~responder' AND s.client_id = '~responder' AND s.broker_id IS NOT NULL
        AND s.kind = 'service' AND u.enabled
), present AS (
    SELECT broker, username, client_id FROM on_provision
    UNION SELECT broker, username, client_id FROM coupled
    UNION SELECT broker, username, client_id FROM responder
), pattern AS (
    -- What each may do: access (1 read, 2 write, 4 subscribe) and the filters; {c}, {p} and {a} are put in below.
    SELECT p.broker, p.username, p.client_id, access, replace(replace(filter, '{c}', p.client_id), '{p}', $2) AS filter
    FROM on_provision p CROSS JOIN (VALUES
        ('w', 'prov/v1/{c}/request'), ('w', 'prov/v1/{c}/status'), ('rs', 'prov/v1/{c}/reply'),
        ('rs', '$EDC/{p}/{c}/#'), ('w', '$EDC/{p}/{c}/MQTT/#'), ('w', '$EDC/{p}/~{c}/+/REPLY/#'),
        ('w', '$EDC/{p}/~{c}/+/NOTIFY/{c}/#')) AS f(access, filter)
    UNION ALL
    SELECT r.broker, r.username, r.client_id, access, replace(filter, '{p}', $2)
    FROM responder r CROSS JOIN (VALUES
        ('provision', 'rs', 'prov/v1/+/request'), ('provision', 'rs', 'prov/v1/+/status'),
        ('provision', 'rs', '$EDC/{p}/+/MQTT/#'), ('provision', 'rs', '$EDC/{p}/+/+/REPLY/#'),
        ('provision', 'rs', '$EDC/{p}/+/+/NOTIFY/+/#'), ('provision', 'w', 'prov/v1/+/reply'),
        ('provision', 'w', '$EDC/{p}/+/DEPLOY-V2/EXEC/download'),
        ('provision', 'w', '$EDC/{p}/+/KEYS-V1/POST/keystores/entries/certificate'),
        ('provision', 'w', '$EDC/{p}/+/CONF-V1/PUT/configurations'),
        ('account', 'rs', '$EDC/+/+/MQTT/BIRTH'), ('account', 'rs', '$EDC/+/+/MQTT/APPS'),
        ('account', 'rs', '$EDC/+/+/MQTT/DC'), ('account', 'rs', '$EDC/+/+/MQTT/LWT')) AS f(role, access, filter)
    WHERE f.role = r.role
    UNION ALL
    SELECT c.broker, c.username, c.client_id, access, replace(replace(filter, '{c}', c.client_id), '{a}', c.account)
    FROM coupled c CROSS JOIN (VALUES
        ('broker:connect', 'rws', '$EDC/{a}/{c}/#', NULL), ('broker:connect', 'rws', '{a}/{c}/#', NULL),
        ('broker:connect', 'w', '$EDC/{a}/+/+/REPLY/#', false), ('broker:connect', 'w', '$EDC/{a}/~{c}/+/REPLY/#', true),
        ('broker:connect', 'w', '$EDC/{a}/+/+/NOTIFY/{c}/#', NULL), ('device:manage', 'rws', '$EDC/{a}/#', NULL),
        ('data:manage', 'rws', '{a}/#', NULL), ('data:view', 'rs', '{a}/#', NULL), ('data:view', 'w', '{a}/{c}/#', NULL)
    ) AS f(permission, access, filter, narrow)
    WHERE f.permission = ANY (c.may) AND coalesce(f.narrow = $4, true)
), granted AS (
    SELECT broker, username, client_id, access, string_to_array(filter, '/') AS levels, filter LIKE '%#' AS deep
    FROM pattern
), said AS (
    -- Topics that mean something: of the right length, wildcards in filters alone and each a whole level.
    SELECT a.n, a.broker, a.username, a.client_id, string_to_array(a.topic, '/') AS levels,
        CASE a.acc WHEN 1 THEN 'r' WHEN 2 THEN 'w' WHEN 4 THEN 's' END AS access
    FROM asked a
    WHERE octet_length(a.topic) BETWEEN 1 AND 65535
        AND CASE WHEN a.acc = 4 THEN a.topic !~ '[^/][+#]|[+#][^/]|#/' ELSE a.topic !~ '[+#]' END
), usable AS (
    SELECT DISTINCT t.n FROM said t
    JOIN granted g ON (g.broker, g.username, g.client_id) = (t.broker, t.username, t.client_id)
        AND position(t.access IN g.access) > 0
    WHERE CASE WHEN g.deep THEN cardinality(t.levels) >= cardinality(g.levels) - 1
            ELSE cardinality(t.levels) = cardinality(g.levels) END
        AND NOT EXISTS (
            SELECT FROM unnest(g.levels) WITH ORDINALITY AS l(level, i)
            WHERE l.level <> '#' AND CASE WHEN l.level = '+' THEN t.levels[i] = '#' ELSE t.levels[i] <> l.level END
        )
)
SELECT a.n,
    CASE
        WHEN a.username <> '~responder' AND s.role = 'provision' AND NOT coalesce(a.clean, true) THEN 'deny'
        WHEN a.username = '~takeover' THEN CASE WHEN a.password = 'current' THEN 'allow' ELSE 'deny' END
        WHEN NOT right_password THEN 'deny'
        WHEN s.kind = 'provision' AND (s.role <> 'provision' OR s.role IS NULL OR NOT s.well_named) THEN 'deny'
        WHEN s.kind = 'provision' AND k.held_at IS NOT NULL THEN 'held'
        WHEN p.broker IS NOT NULL THEN 'allow'
        ELSE 'deny'
    END AS connect,
    u.n IS NOT NULL AS access
FROM asked a
JOIN subject s ON (s.broker, s.username, s.client_id) = (a.broker, a.username, a.client_id)
LEFT JOIN credentials k ON k.user_id = s.user_id
LEFT JOIN present p ON (p.broker, p.username, p.client_id) = (a.broker, a.username, a.client_id)
LEFT JOIN usable u ON u.n = a.n
CROSS JOIN LATERAL (
    SELECT a.password = 'current'
        OR (a.password = 'previous' AND coalesce(k.overlap_until > (SELECT now FROM platform), false)) AS right_password
) AS judged
