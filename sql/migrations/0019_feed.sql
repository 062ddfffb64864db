-- The feed for those who must not hear a change twice: brokers, whose plugin loads anew whatever it hears of.
SET lock_timeout = '5s';
SET statement_timeout = '60s';

-- What became visible since a position, which is a snapshot; NULL: nothing yet, only where to go on from. `as_of`: what
-- is read at it is as new as the changes that were told (compare hook_facts and pg_snapshot_xmin). `lost`: there may
-- have been more, which nobody keeps any longer.
CREATE FUNCTION hook_feed(p_position text) RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT jsonb_build_object(
        'position', pg_current_snapshot()::text,
        'as_of', pg_snapshot_xmin(pg_current_snapshot())::text,
        'lost', (SELECT coalesce(xid >= pg_snapshot_xmin(p_position::pg_snapshot), false) FROM changes_pruned),
        'changes', (
            SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_array(c.kind, c.key)), '[]')
            FROM changes c
            WHERE c.xid >= pg_snapshot_xmin(p_position::pg_snapshot)
                AND NOT pg_visible_in_snapshot(c.xid, p_position::pg_snapshot)
        )
    )
$$;

REVOKE EXECUTE ON FUNCTION hook_feed(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hook_feed(text) TO provisioning_hooks;
-- The responder ends sessions of whoever lost the right to be at a broker, by the same facts.
GRANT EXECUTE ON FUNCTION hook_facts(text, text, text) TO provisioning_responder;
GRANT CREATE ON SCHEMA public TO provisioning_functions;
ALTER FUNCTION hook_feed(text) OWNER TO provisioning_functions;
REVOKE CREATE ON SCHEMA public FROM provisioning_functions;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0019_feed' $$;
