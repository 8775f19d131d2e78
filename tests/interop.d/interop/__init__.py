"""The same end-to-end scenarios, with imd as it is, against brokers as they are."""
