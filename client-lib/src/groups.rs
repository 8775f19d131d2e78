//! The groups whose messages are wanted.

use std::time::SystemTime;

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::group_service_client::GroupServiceClient;

use crate::call::{Call, DEADLINE};
use crate::client::Client;
use crate::status::system_time;

/// A group whose messages are wanted: remembered, and subscribed again at every login.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// Its id.
    pub group_id: String,
    /// Since when.
    pub joined: Option<SystemTime>,
    /// Why its messages do not come: 22406 NOT_IN_GROUP, if the server refused.
    pub code: Option<Code>,
}

impl Client {
    /// Remembers the group and subscribes it; with the network down, at the next login. A server that
    /// refuses is told by [`groups`](Self::groups).
    pub fn join_group(&self, group_id: impl Into<String>) -> Call<()> {
        let message = v1::JoinGroupRequest {
            group_id: group_id.into(),
        };
        self.call("JoinGroup", |link| async move {
            link.unary("JoinGroup", DEADLINE, message, |channel, request| async {
                GroupServiceClient::new(channel).join_group(request).await
            })
            .await
            .map(|v1::JoinGroupResponse {}| ())
        })
    }

    /// Forgets the group and ends its subscription. Its messages stay.
    pub fn quit_group(&self, group_id: impl Into<String>) -> Call<()> {
        let message = v1::QuitGroupRequest {
            group_id: group_id.into(),
        };
        self.call("QuitGroup", |link| async move {
            link.unary("QuitGroup", DEADLINE, message, |channel, request| async {
                GroupServiceClient::new(channel).quit_group(request).await
            })
            .await
            .map(|v1::QuitGroupResponse {}| ())
        })
    }

    /// The groups whose messages are wanted.
    pub fn groups(&self) -> Call<Vec<Group>> {
        self.call("ListGroups", |link| async move {
            let message = v1::ListGroupsRequest {};
            link.unary("ListGroups", DEADLINE, message, |channel, request| async {
                GroupServiceClient::new(channel).list_groups(request).await
            })
            .await
            .map(|answer| answer.groups.into_iter().map(Group::from_wire).collect())
        })
    }
}

impl Group {
    fn from_wire(wire: v1::Group) -> Self {
        Self {
            group_id: wire.group_id,
            joined: wire.join_time.as_ref().and_then(system_time),
            code: Some(Code(wire.code)).filter(|code| code.0 != 0),
        }
    }
}
