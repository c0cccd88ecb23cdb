// Integer scaling: factors other than 1 on integer tensors, through double.
#pragma once

#include "core/dtype.h"
#include "device/tree.h"

namespace rueda::device {

// The scaler of an integer dtype: x / divisor * factor in double, truncated toward zero; what does
// not fit becomes the nearest value that does, NaN becomes 0. Null for floats (their kernels scale)
// and for bool (which has no factors). Any thread.
BlockScaler IntegerScaler(DType dtype);

}  // namespace rueda::device
