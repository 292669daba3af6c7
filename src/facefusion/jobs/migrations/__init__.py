"""Steps by which the tables of the job store change; run by the store itself."""
