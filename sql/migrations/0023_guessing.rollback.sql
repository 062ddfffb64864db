SET lock_timeout = '5s';
SET statement_timeout = '60s';
DROP FUNCTION hook_count_guesses(jsonb, double precision, double precision, integer);
DROP FUNCTION hook_prove_key(text, text, bytea);
DROP FUNCTION hook_key_proved(text);
DROP TABLE key_proofs;
DROP TABLE password_guesses;

CREATE OR REPLACE FUNCTION schema_level() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '0022_hook_facts' $$;
