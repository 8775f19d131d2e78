//! The store as the link and the apps see it, on a real file.

mod full_disk;
mod group_commit;
mod model;
mod outbox;
mod receive;
mod salvage;
mod small;

use std::path::PathBuf;
use std::time::Duration;

use crate::store::rows::{
    Arrival, ConversationKey, ConversationKind, Due, Incoming, LogContent, Message, Outgoing,
};
use crate::store::{AccountKey, OpenedAccount, Store, StoreError, StorePaths, log, message_row};

const WEEK: Duration = Duration::from_hours(7 * 24);
const ME: &str = "alice";
const OURS: &str = "this-installation";

/// A store on a directory of its own, with alice's account open.
pub(super) struct Place {
    dir: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) opened: OpenedAccount,
}

impl Place {
    pub(super) async fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap()).await
    }

    async fn in_directory(dir: tempfile::TempDir) -> Self {
        let paths = StorePaths {
            data_dir: dir.path().to_owned(),
            session_file: dir.path().join("session.json"),
        };
        let (store, _) = Store::start(paths, true, WEEK).unwrap();
        let opened = store.open_account(alice()).await.unwrap();
        Self { dir, store, opened }
    }

    /// The database as `kill -9` would leave it at this moment, opened by another daemon.
    pub(super) async fn after_a_kill(&self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        let from = self.database();
        let to = copy.path().join(from.strip_prefix(self.dir.path()).unwrap());
        let directory = to.parent().unwrap();
        for made in [directory.parent().unwrap(), directory] {
            crate::paths::private_directory("test", made).unwrap();
        }
        for name in ["account.db", "account.db-wal"] {
            std::fs::copy(from.with_file_name(name), directory.join(name)).unwrap();
        }
        Self::in_directory(copy).await
    }

    pub(super) fn database(&self) -> PathBuf {
        let directory = self.dir.path().join("accounts").join(alice().directory());
        directory.join("account.db")
    }

    /// All messages, in the order of their rows.
    pub(super) async fn messages(&self) -> Vec<Message> {
        let read = self.store.read(|connection| {
            connection
                .prepare(message_row::select_messages!("ORDER BY m.message_id"))?
                .query_map([], message_row::message)?
                .collect()
        });
        read.await.unwrap()
    }

    pub(super) async fn message(&self, uid: &str) -> Message {
        let all = self.messages().await;
        let mut found = all.into_iter().filter(|message| message.uid == uid);
        let message = found.next().unwrap();
        assert!(found.next().is_none(), "{uid} is there twice");
        message
    }

    /// What the log says, from its begin.
    pub(super) async fn log(&self) -> Vec<LogContent> {
        self.try_log().await.unwrap()
    }

    pub(super) async fn try_log(&self) -> Result<Vec<LogContent>, StoreError> {
        let read = self.store.read(|connection| {
            connection
                .prepare("SELECT kind, message_id, detail FROM events ORDER BY event_offset")?
                .query_map([], |row| {
                    let (message_id, detail): (i64, String) = (row.get(1)?, row.get(2)?);
                    let message = message_row::by_id(connection, message_id)?;
                    Ok(log::content(row.get(0)?, message_id, &detail, message))
                })?
                .collect()
        });
        read.await
    }

    /// The log without its messages' bodies: `+uid status` stored, `uid status` changed.
    pub(super) async fn log_in_short(&self) -> Vec<String> {
        let log = self.log().await;
        log.iter().map(in_short).collect()
    }

    pub(super) async fn number(&self, sql: &'static str) -> i64 {
        let read = self
            .store
            .read(|connection| connection.query_row(sql, [], |row| row.get(0)));
        read.await.unwrap()
    }

    pub(super) async fn execute(&self, sql: &'static str) {
        let done = self.store.write(|transaction| transaction.execute_batch(sql));
        done.await.unwrap();
    }

    /// What is to be sent, by uid.
    pub(super) async fn due(&self) -> Vec<String> {
        self.store
            .due(0, 1000)
            .await
            .unwrap()
            .into_iter()
            .map(|due| due.uid)
            .collect()
    }

    pub(super) async fn due_entry(&self, uid: &str) -> Due {
        let due = self.store.due(0, 1000).await.unwrap();
        due.into_iter().find(|due| due.uid == uid).unwrap()
    }
}

fn in_short(content: &LogContent) -> String {
    match content {
        LogContent::Message(message) => format!("+{} {}", message.uid, message.sent_status),
        LogContent::MessageState(message) => format!("{} {}", message.uid, message.sent_status),
        LogContent::Gap(gap) => format!("{gap:?}"),
        LogContent::OfflineSyncCompleted { .. }
        | LogContent::Unreadable { .. }
        | LogContent::Deleted { .. } => {
            format!("{content:?}")
        }
    }
}

fn alice() -> AccountKey {
    AccountKey {
        app_key: "chat".to_owned(),
        user_id: ME.to_owned(),
    }
}

pub(super) fn private(peer: &str) -> ConversationKey {
    ConversationKey {
        kind: ConversationKind::Private,
        target: peer.to_owned(),
    }
}

pub(super) fn group(group: &str) -> ConversationKey {
    ConversationKey {
        kind: ConversationKind::Group,
        target: group.to_owned(),
    }
}

/// A private message from a peer.
pub(super) fn from(peer: &str, uid: &str) -> Incoming {
    Incoming {
        conversation: private(peer),
        sender: peer.to_owned(),
        sent_by_me: false,
        uid: uid.to_owned(),
        origin: format!("of-{peer}"),
        seq: 0,
        object_name: "RC:TxtMsg".to_owned(),
        content: format!("{{\"content\":\"{uid}\"}}").into_bytes(),
        flags: 3,
        sent_time: 1_700_000_000_000,
        wants_receipt: true,
    }
}

/// A group message, the sender's number in it.
pub(super) fn in_group(name: &str, sender: &str, seq: u64) -> Incoming {
    Incoming {
        conversation: group(name),
        seq,
        sent_by_me: sender == ME,
        wants_receipt: false,
        ..from(sender, &format!("{name}-{sender}-{seq}"))
    }
}

pub(super) fn to(conversation: ConversationKey, uid: &str) -> Outgoing {
    Outgoing {
        conversation,
        uid: uid.to_owned(),
        object_name: "RC:TxtMsg".to_owned(),
        content: uid.as_bytes().to_owned(),
        flags: 3,
        sent_time: 1_700_000_000_000,
    }
}

/// Our own message, as the server brings it back.
pub(super) fn echo(outgoing: Outgoing) -> Incoming {
    Incoming {
        conversation: outgoing.conversation,
        sender: ME.to_owned(),
        sent_by_me: true,
        uid: outgoing.uid,
        origin: OURS.to_owned(),
        seq: 1,
        object_name: outgoing.object_name,
        content: outgoing.content,
        flags: outgoing.flags,
        sent_time: outgoing.sent_time,
        wants_receipt: false,
    }
}

pub(super) fn arrivals(messages: impl IntoIterator<Item = Incoming>) -> Vec<Arrival> {
    messages.into_iter().map(Arrival::Message).collect()
}
