"""The store in SQL: tables, migrations, the log with its one writer, accounts and known executors."""
