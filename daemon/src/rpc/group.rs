//! GroupService: the groups whose messages are wanted.

use std::sync::Arc;

use imd_proto::imd::v1;
use imd_proto::imd::v1::group_service_server::GroupService;
use tonic::{Request, Response, Status};

use super::archive::Archive;
use super::binding::peer;
use super::pages::Pages;
use super::session::answered;
use super::{arguments, convert};
use crate::link;

pub(super) struct Groups {
    pub(super) link: link::Handle,
    pub(super) archive: Arc<dyn Archive>,
    pub(super) pages: Pages,
}

#[tonic::async_trait]
impl GroupService for Groups {
    async fn join_group(
        &self,
        request: Request<v1::JoinGroupRequest>,
    ) -> Result<Response<v1::JoinGroupResponse>, Status> {
        let group = arguments::group(request.into_inner().group_id).map_err(convert::invalid)?;
        answered("JoinGroup", self.link.join_group(group)).await?;
        Ok(Response::new(v1::JoinGroupResponse {}))
    }

    async fn quit_group(
        &self,
        request: Request<v1::QuitGroupRequest>,
    ) -> Result<Response<v1::QuitGroupResponse>, Status> {
        let group = arguments::group(request.into_inner().group_id).map_err(convert::invalid)?;
        answered("QuitGroup", self.link.quit_group(group)).await?;
        Ok(Response::new(v1::QuitGroupResponse {}))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let groups = self
            .pages
            .read(&peer(&request)?, "ListGroups", self.archive.groups())
            .await?;
        Ok(Response::new(v1::ListGroupsResponse {
            groups: groups.into_iter().map(convert::group).collect(),
        }))
    }
}
