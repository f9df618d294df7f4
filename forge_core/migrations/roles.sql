-- The five roles. Where they exist already (made by whoever runs the server) they are left alone.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY
        ARRAY['forge_owner', 'forge_migrate', 'forge_app', 'forge_client', 'forge_reader']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    IF NOT pg_has_role(current_user, 'forge_owner', 'SET') THEN
        GRANT forge_owner TO CURRENT_USER;
    END IF;
    IF NOT has_schema_privilege('forge_owner', 'public', 'CREATE') THEN
        GRANT CREATE, USAGE ON SCHEMA public TO forge_owner;
    END IF;
END
$$;
