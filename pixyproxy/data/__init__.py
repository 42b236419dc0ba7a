"""SQL: repositories over MySQL, MariaDB and SQLite."""
