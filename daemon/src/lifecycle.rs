//! Start, signals, systemd, the orderly stop.
