//! Messages that only the contract's descriptors know, on gRPC's wire.

use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Reads messages of one kind; writes any.
pub(crate) struct Dynamic(pub(crate) MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Writer;
    type Decoder = Reader;

    fn encoder(&mut self) -> Writer {
        Writer
    }

    fn decoder(&mut self) -> Reader {
        Reader(self.0.clone())
    }
}

pub(crate) struct Writer;

impl Encoder for Writer {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message
            .encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

pub(crate) struct Reader(MessageDescriptor);

impl Decoder for Reader {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.clone(), buffer);
        message
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

/// Takes out, at every depth, what the descriptor does not know: a program of that version would never have
/// written it. Returns how much that was.
pub(crate) fn forget(message: &mut DynamicMessage) -> usize {
    let mut forgotten = message.take_unknown_fields().count();
    for (_, value) in message.fields_mut() {
        forgotten += forget_in(value);
    }
    forgotten
}

fn forget_in(value: &mut Value) -> usize {
    if let Some(message) = value.as_message_mut() {
        forget(message)
    } else if let Some(values) = value.as_list_mut() {
        values.iter_mut().map(forget_in).sum()
    } else if let Some(values) = value.as_map_mut() {
        values.values_mut().map(forget_in).sum()
    } else {
        0
    }
}
