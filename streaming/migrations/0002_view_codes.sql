-- A decision's view_status is empty where view_codes says it: a byte for each unit of its service, in the service's order;
-- 0 is PRESENT, 1 STALE, 2 MISSING. Null in rows of before, which have the names.

ALTER TABLE fraud.decisions ADD COLUMN view_codes bytea;
