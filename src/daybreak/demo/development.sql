-- Development of the demo before its first refresh: small, old, with an owner, settings and rights of its own.
\getenv password DEMO_PASSWORD
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE ROLE teahouse_dev NOLOGIN;
CREATE ROLE teahouse_dev_app LOGIN;
CREATE ROLE daybreak SUPERUSER LOGIN PASSWORD :'password' IN ROLE needs_password;
CREATE DATABASE teahouse OWNER teahouse_dev TEMPLATE template0 ENCODING 'UTF8' CONNECTION LIMIT 40;
COMMENT ON DATABASE teahouse IS 'The tea house: development. Break what you like';
ALTER DATABASE teahouse SET "teahouse.environment" = 'development';
ALTER DATABASE teahouse SET work_mem = '12MB';
REVOKE CONNECT ON DATABASE teahouse FROM PUBLIC;
GRANT CONNECT ON DATABASE teahouse TO teahouse_dev_app;
\connect teahouse
SET ROLE teahouse_dev;
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id int PRIMARY KEY, note text);
INSERT INTO shop.orders SELECT n, 'left over from last spring' FROM generate_series(1, 12) AS n;
