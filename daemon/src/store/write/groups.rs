//! The groups whose messages are wanted.

use super::now;
use crate::store::rows::Group;
use crate::store::{Store, StoreError, message_row};

impl Store {
    /// All of them, by name.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn groups(&self) -> Result<Vec<Group>, StoreError> {
        self.write(|transaction| {
            transaction
                .prepare_cached("SELECT group_id, joined, code FROM groups ORDER BY group_id")?
                .query_map([], |row| {
                    Ok(Group {
                        group_id: message_row::text(row, 0)?,
                        joined: row.get(1)?,
                        code: message_row::number(row, 2)?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// Remembers a group. One that is remembered keeps its time of joining; a refusal is forgotten.
    ///
    /// # Errors
    /// It is not remembered: the name is not legal, or the database cannot be written.
    pub async fn join_group(&self, group_id: String) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO groups (group_id, joined) VALUES (?1, ?2)
                     ON CONFLICT DO UPDATE SET code = 0",
                )?
                .execute((&group_id, now()))?;
            Ok(())
        })
        .await
    }

    /// Forgets a group, and how far its senders had counted: what is sent meanwhile is no loss.
    ///
    /// # Errors
    /// It is still remembered.
    pub async fn quit_group(&self, group_id: String) -> Result<(), StoreError> {
        self.write(move |transaction| {
            for statement in [
                "DELETE FROM groups WHERE group_id = ?1",
                "DELETE FROM group_senders WHERE group_id = ?1",
            ] {
                transaction.prepare_cached(statement)?.execute([&group_id])?;
            }
            Ok(())
        })
        .await
    }

    /// What the server said to the subscription: 0, or 22406. A group that is not remembered has none.
    ///
    /// # Errors
    /// It is not noted.
    pub async fn group_code(&self, group_id: String, code: i32) -> Result<(), StoreError> {
        self.write(move |transaction| {
            transaction
                .prepare_cached("UPDATE groups SET code = ?2 WHERE group_id = ?1 AND code <> ?2")?
                .execute((&group_id, code))?;
            Ok(())
        })
        .await
    }
}
