use imd::link::Command;
use imd::store::rows::Group;
use imd_core::io::Refusal;
use imd_proto::code::Code;
use imd_proto::imd::v1;

use crate::support::*;

fn with(peer: &str) -> Option<v1::ConversationKey> {
    Some(v1::ConversationKey {
        r#type: v1::ConversationType::Private.into(),
        target_id: peer.to_owned(),
    })
}

fn system(target: &str) -> Option<v1::ConversationKey> {
    Some(v1::ConversationKey {
        r#type: v1::ConversationType::System.into(),
        target_id: target.to_owned(),
    })
}

#[tokio::test]
async fn the_list_is_read_page_by_page() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    for peer in ["a", "b", "c", "d", "e"] {
        daemon.archive.receive(peer, b"{}");
    }
    let mut conversations = daemon.conversations().await;
    let mut page_token = String::new();
    let mut seen = Vec::new();
    loop {
        let page = v1::ListConversationsRequest { limit: 2, page_token };
        let page = conversations.list_conversations(page).await.unwrap().into_inner();
        assert!(page.conversations.len() <= 2);
        seen.extend(
            page.conversations
                .into_iter()
                .map(|one| one.key.unwrap().target_id),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    let foreign = v1::ListConversationsRequest {
        limit: 0,
        page_token: "page 2".to_owned(),
    };
    assert_eq!(
        code(conversations.list_conversations(foreign).await),
        Code::BIZ_ERROR_INVALID_PARAMETER
    );
}

#[tokio::test]
async fn only_what_is_named_changes() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    daemon.archive.receive("bob", b"{}");
    let mut conversations = daemon.conversations().await;
    let update = v1::UpdateConversationRequest {
        key: with("bob"),
        draft: Some("I was about to".to_owned()),
        pinned: Some(true),
        muted: None,
    };
    conversations.update_conversation(update).await.unwrap();
    let update = v1::UpdateConversationRequest {
        key: with("bob"),
        muted: Some(true),
        ..v1::UpdateConversationRequest::default()
    };
    let updated = conversations
        .update_conversation(update)
        .await
        .unwrap()
        .into_inner();
    let updated = updated.conversation.unwrap();
    assert_eq!(updated.draft, "I was about to");
    assert!(updated.pinned && updated.muted);
    assert_eq!(updated.unread_count, 1);
    assert_eq!(updated.last_message.unwrap().sender_user_id, "bob");
    let long = v1::UpdateConversationRequest {
        key: with("bob"),
        draft: Some("x".repeat(8193)),
        ..v1::UpdateConversationRequest::default()
    };
    assert_eq!(
        code(conversations.update_conversation(long).await),
        Code::BIZ_ERROR_INVALID_PARAMETER
    );
}

#[tokio::test]
async fn unread_messages_are_counted_and_marked() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    for _ in 0..3 {
        daemon.archive.receive("bob", b"{}");
    }
    let mut conversations = daemon.conversations().await;
    let total = v1::GetUnreadCountRequest { include_muted: true };
    let total = conversations.get_unread_count(total).await.unwrap().into_inner();
    assert_eq!(total.unread_count, 3);
    for (message_id, left) in [(2, 1), (0, 0)] {
        let mark = v1::MarkReadRequest {
            key: with("bob"),
            message_id,
        };
        let marked = conversations.mark_read(mark).await.unwrap().into_inner();
        assert_eq!(marked.unread_count, left);
    }
    let delete = v1::DeleteConversationRequest {
        key: with("bob"),
        delete_messages: true,
    };
    conversations.delete_conversation(delete).await.unwrap();
    assert_eq!(daemon.archive.stored(), 0);
    let gone = v1::GetConversationRequest { key: with("bob") };
    assert_eq!(
        code(conversations.get_conversation(gone).await),
        Code::RC_DB_DATA_NOT_FOUND
    );
}

#[tokio::test]
async fn the_system_conversation_has_one_name_and_can_be_pinned() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    let mut conversations = daemon.conversations().await;
    for target in ["", "system"] {
        let pin = v1::UpdateConversationRequest {
            key: system(target),
            pinned: Some(true),
            ..v1::UpdateConversationRequest::default()
        };
        let pinned = conversations.update_conversation(pin).await.unwrap().into_inner();
        assert_eq!(pinned.conversation.unwrap().key, system("system"));
    }
    let other = v1::GetConversationRequest { key: system("bob") };
    assert_eq!(
        code(conversations.get_conversation(other).await),
        Code::BIZ_ERROR_INVALID_PARAMETER
    );
}

#[tokio::test]
async fn without_an_account_nothing_can_be_read() {
    let daemon = Daemon::start();
    let mut conversations = daemon.conversations().await;
    assert_eq!(
        code(
            conversations
                .list_conversations(v1::ListConversationsRequest::default())
                .await
        ),
        Code::RC_DB_NOT_INIT
    );
    assert_eq!(
        code(daemon.groups().await.list_groups(v1::ListGroupsRequest {}).await),
        Code::RC_DB_NOT_INIT
    );
}

#[tokio::test]
async fn groups_are_joined_and_quit_through_the_link_and_listed_from_the_store() {
    let mut daemon = Daemon::start();
    daemon.archive.open("a");
    let mut groups = daemon.groups().await;
    let mut asking = groups.clone();
    let joined = tokio::spawn(async move {
        let join = v1::JoinGroupRequest {
            group_id: "读书会".to_owned(),
        };
        asking.join_group(join).await
    });
    let Command::JoinGroup { group, answer } = daemon.command().await else {
        panic!("not a join");
    };
    assert_eq!(group, "读书会");
    answer.send(Ok(())).unwrap();
    soon(joined).await.unwrap().unwrap();

    let mut asking = groups.clone();
    let quit = tokio::spawn(async move {
        let quit = v1::QuitGroupRequest {
            group_id: "club".to_owned(),
        };
        asking.quit_group(quit).await
    });
    let Command::QuitGroup { answer, .. } = daemon.command().await else {
        panic!("not a quit");
    };
    let refusal = Refusal {
        code: Code::RC_DB_NOT_INIT,
        text: "no account is open".to_owned(),
    };
    answer.send(Err(refusal)).unwrap();
    assert_eq!(code(soon(quit).await.unwrap()), Code::RC_DB_NOT_INIT);

    for group_id in ["", "a/b", "#", ".."] {
        let join = v1::JoinGroupRequest {
            group_id: group_id.to_owned(),
        };
        assert_eq!(
            code(groups.join_group(join).await),
            Code::BIZ_ERROR_INVALID_PARAMETER
        );
    }
    daemon.assert_idle();

    for (group_id, code) in [("club", 0), ("closed", 22406)] {
        daemon.archive.group(Group {
            group_id: group_id.to_owned(),
            joined: 1_500,
            code,
        });
    }
    let listed = groups
        .list_groups(v1::ListGroupsRequest {})
        .await
        .unwrap()
        .into_inner()
        .groups;
    let [club, closed] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    assert_eq!((club.code, club.code_name.as_str()), (0, ""));
    assert_eq!(club.join_time.unwrap().nanos, 500_000_000);
    assert_eq!((closed.code, closed.code_name.as_str()), (22406, "NOT_IN_GROUP"));
}
