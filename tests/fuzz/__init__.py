"""Bad input for everything that reads what strangers send: targets, seeds, corpus."""
