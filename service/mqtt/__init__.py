"""MQTT: a small client, the responder, the simulated device."""
