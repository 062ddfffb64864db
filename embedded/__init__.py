"""What `make up` and the tests start: a private Postgres cluster, brokers, services."""
