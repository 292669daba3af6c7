CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
CREATE TABLE jobs (id VARCHAR(32) NOT NULL, status VARCHAR(12) NOT NULL, recipe JSON NOT NULL, "plan" JSON NOT NULL, outcome JSON NOT NULL, error TEXT NOT NULL, storage TEXT NOT NULL, queue VARCHAR(40) NOT NULL, priority INTEGER NOT NULL, max_attempts INTEGER NOT NULL, created_at FLOAT NOT NULL, updated_at FLOAT NOT NULL, PRIMARY KEY (id));
CREATE INDEX ix_jobs_status ON jobs (status);
CREATE TABLE items (job_id VARCHAR(32) NOT NULL, stage VARCHAR(8) NOT NULL, number INTEGER NOT NULL, status VARCHAR(12) NOT NULL, attempts INTEGER NOT NULL, renders INTEGER NOT NULL, owner VARCHAR(80) NOT NULL, lease_until FLOAT NOT NULL, available_at FLOAT NOT NULL, published_at FLOAT NOT NULL, sha256 VARCHAR(64) NOT NULL, error TEXT NOT NULL, frame_count INTEGER NOT NULL, progress INTEGER NOT NULL, outcome JSON NOT NULL, claimed_at FLOAT DEFAULT '0' NOT NULL, finished_at FLOAT DEFAULT '0' NOT NULL, PRIMARY KEY (job_id, stage, number), FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE);
CREATE INDEX items_by_status ON items (status, lease_until);
CREATE TABLE events (id INTEGER NOT NULL, job_id VARCHAR(32) NOT NULL, at FLOAT NOT NULL, what TEXT NOT NULL, PRIMARY KEY (id), FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE);
CREATE INDEX ix_events_job_id ON events (job_id);
CREATE INDEX jobs_by_age ON jobs (created_at, id);
INSERT INTO alembic_version VALUES ('0002');
