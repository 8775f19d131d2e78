//! A small MQTT broker with hooks to script any answer or fault.
