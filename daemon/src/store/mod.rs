//! The account database and the remembered session, on their own thread. Knows neither core nor rpc.
