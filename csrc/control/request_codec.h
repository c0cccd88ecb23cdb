// request_codec: a request as bytes, within batches and frames. Format: docs/wire-format.md,
// "Control messages".
#pragma once

#include <cstddef>

#include "control/request.h"
#include "control/wire.h"

namespace rueda::control {

// What a request takes when names, shapes and parts are empty.
inline constexpr size_t kLeastRequestBytes = 1 + 1 + 1 + 4 + 8 + 8 + 4 + 4 + 8 + 4 + 4 + 4;

void Write(Writer& writer, const Request& request);
// Fails the reader if the request breaks what CheckRequest asks for.
Request ReadRequest(Reader& reader);

}  // namespace rueda::control
