#pragma once

#include <vector>

#include "api/json.h"
#include "api/options.h"
#include "api/request.h"
#include "base/work.h"
#include "store/store.h"

// What the small layers of a model hold. A layer that cannot be understood is an
// Error(kCorruptData) that names its file: the fault is the model's, not the client's. Throws what
// Work::charge() does, as a layer may be 16 MiB.
namespace sluice::server {

// The object of options that come with the model, as it stands there; empty when it has none.
api::JsonTree layer_params(const store::ModelRecord& record, Work& work);
api::ModelOptions layer_options(const store::ModelRecord& record);
// The messages that every conversation with the model begins with.
std::vector<api::Message> layer_messages(const store::ModelRecord& record, Work& work);

}  // namespace sluice::server
