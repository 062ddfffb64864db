"""
Device provisioning for Mosquitto.

    core/        decisions: pure functions of facts; no I/O, no clock, no randomness
    operations/  load, decide, save in one transaction: the only place where core meets the database
    db/          Postgres: named queries, migrations, the feed of changes
    web/         the broker's questions (hooks), health and metrics
    mqtt/        the responder and its MQTT client
    cli/         the `provision` command
"""
