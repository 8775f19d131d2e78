//! ConversationService: the list, and what is kept for each of it.

use std::sync::Arc;

use imd_proto::imd::v1;
use imd_proto::imd::v1::conversation_service_server::ConversationService;
use tonic::{Request, Response, Status};

use super::archive::{Archive, answered};
use super::binding::peer;
use super::pages::Pages;
use super::{arguments, convert};

pub(super) struct Conversations {
    pub(super) archive: Arc<dyn Archive>,
    pub(super) pages: Pages,
}

#[tonic::async_trait]
impl ConversationService for Conversations {
    async fn list_conversations(
        &self,
        request: Request<v1::ListConversationsRequest>,
    ) -> Result<Response<v1::ListConversationsResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let limit = arguments::limit(request.limit).map_err(convert::invalid)?;
        let after = arguments::page_token(&request.page_token).map_err(convert::invalid)?;
        let page = self
            .pages
            .read(
                &peer,
                "ListConversations",
                self.archive.conversations(after, limit),
            )
            .await?;
        Ok(Response::new(convert::conversations(page)))
    }

    async fn get_conversation(
        &self,
        request: Request<v1::GetConversationRequest>,
    ) -> Result<Response<v1::GetConversationResponse>, Status> {
        let peer = peer(&request)?;
        let key = arguments::conversation(request.into_inner().key).map_err(convert::invalid)?;
        let read = self.archive.conversation(key.clone());
        let found = self.pages.read(&peer, "GetConversation", read).await?;
        let conversation = found
            .ok_or_else(|| convert::not_found(format!("there is no conversation with {:?}", key.target)))?;
        Ok(Response::new(v1::GetConversationResponse {
            conversation: Some(convert::conversation(conversation)),
        }))
    }

    async fn update_conversation(
        &self,
        request: Request<v1::UpdateConversationRequest>,
    ) -> Result<Response<v1::UpdateConversationResponse>, Status> {
        let (key, change) = arguments::change(request.into_inner()).map_err(convert::invalid)?;
        let updated = self.archive.update_conversation(key, change);
        let conversation = answered("UpdateConversation", updated).await?;
        Ok(Response::new(v1::UpdateConversationResponse {
            conversation: Some(convert::conversation(conversation)),
        }))
    }

    async fn mark_read(
        &self,
        request: Request<v1::MarkReadRequest>,
    ) -> Result<Response<v1::MarkReadResponse>, Status> {
        let request = request.into_inner();
        let key = arguments::conversation(request.key).map_err(convert::invalid)?;
        let up_to = arguments::message_id("message_id", request.message_id).map_err(convert::invalid)?;
        let unread_count = answered("MarkRead", self.archive.mark_read(key, up_to)).await?;
        Ok(Response::new(v1::MarkReadResponse { unread_count }))
    }

    async fn get_unread_count(
        &self,
        request: Request<v1::GetUnreadCountRequest>,
    ) -> Result<Response<v1::GetUnreadCountResponse>, Status> {
        let include_muted = request.into_inner().include_muted;
        let unread_count = answered("GetUnreadCount", self.archive.unread_count(include_muted)).await?;
        Ok(Response::new(v1::GetUnreadCountResponse { unread_count }))
    }

    async fn delete_conversation(
        &self,
        request: Request<v1::DeleteConversationRequest>,
    ) -> Result<Response<v1::DeleteConversationResponse>, Status> {
        let request = request.into_inner();
        let key = arguments::conversation(request.key).map_err(convert::invalid)?;
        let deleted = self.archive.delete_conversation(key, request.delete_messages);
        answered("DeleteConversation", deleted).await?;
        Ok(Response::new(v1::DeleteConversationResponse {}))
    }
}
