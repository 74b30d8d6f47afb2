"""PostgreSQL's own tools and catalogues: reached through psql, pg_dump and pg_restore, never a driver.

The tools run where the server is (here, in its container, over ssh), so versions match and
credentials stay there. `client.Postgres` is one server; the other modules say what is asked of it.
"""
