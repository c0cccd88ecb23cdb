// The Open MPI side of `rueda bench`: one rank that does what the lines on a Unix socket say.
//
// Compiled by mpicxx on the user's machine and started by mpirun with the socket's path. external.py
// has the protocol. It blocks in reading between requests, so that nobody spins meanwhile.
#include <mpi.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Request {
  std::string verb, kind, dtype, op;
  int tensors = 0;
  int count = 0;
  long calls = 0;
  long block = 1;
};

const std::map<std::string, MPI_Op> kOps{
    {"sum", MPI_SUM}, {"min", MPI_MIN}, {"max", MPI_MAX}, {"product", MPI_PROD}};

// Small whole numbers, so that every result is exact; see patterns.py.
template <typename T>
T Value(long place, int rank, bool product) {
  const long period = place % 251;
  return static_cast<T>((period * period + rank) % (product ? 2 : 3) + 1);
}

template <typename T>
T Expected(long place, int ranks, const std::string& op) {
  T result = Value<T>(place, 0, op == "product");
  for (int rank = 1; rank < ranks; ++rank) {
    const T value = Value<T>(place, rank, op == "product");
    if (op == "sum") result = static_cast<T>(result + value);
    if (op == "product") result = static_cast<T>(result * value);
    if (op == "min") result = std::min(result, value);
    if (op == "max") result = std::max(result, value);
  }
  return result;
}

template <typename T>
long CountWrong(const Request& request, MPI_Datatype type, MPI_Op op, std::vector<T>* values) {
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  for (int i = 0; i < request.count; ++i) {
    (*values)[static_cast<size_t>(i)] = Value<T>(i, rank, request.op == "product");
  }
  MPI_Allreduce(MPI_IN_PLACE, values->data(), request.count, type, op, MPI_COMM_WORLD);
  long wrong = 0;
  for (int i = 0; i < request.count; ++i) {
    wrong += (*values)[static_cast<size_t>(i)] != Expected<T>(i, ranks, request.op);
  }
  return wrong;
}

template <typename T>
std::string Run(const Request& request, MPI_Datatype type) {
  const MPI_Op op = kOps.at(request.op);
  std::vector<T> values(static_cast<size_t>(request.count));
  if (request.calls == 0) {
    return "ok 0 " + std::to_string(CountWrong(request, type, op, &values)) + "\n";
  }
  const auto call = [&] {
    MPI_Allreduce(MPI_IN_PLACE, values.data(), request.count, type, op, MPI_COMM_WORLD);
  };
  if (request.calls > 1) call();
  MPI_Barrier(MPI_COMM_WORLD);
  std::vector<double> blocks;
  const double began = MPI_Wtime();
  double block_began = began;
  for (long done = 0; done < request.calls;) {
    const long now = std::min(request.block, request.calls - done);
    for (long i = 0; i < now; ++i) call();
    done += now;
    const double ended = MPI_Wtime();
    blocks.push_back((ended - block_began) / static_cast<double>(now));
    block_began = ended;
  }
  std::ostringstream answer;
  answer << "ok " << (MPI_Wtime() - began) / static_cast<double>(request.calls) << " 0";
  for (const double block : blocks) answer << ' ' << block;
  answer << '\n';
  return answer.str();
}

std::string Answer(const Request& request) {
  if (request.verb != "run" || request.kind != "size" || kOps.count(request.op) == 0) {
    return "no Open MPI's program does not do " + request.kind + " " + request.op + "\n";
  }
  if (request.dtype == "float32") return Run<float>(request, MPI_FLOAT);
  if (request.dtype == "float64") return Run<double>(request, MPI_DOUBLE);
  if (request.dtype == "int8") return Run<signed char>(request, MPI_SIGNED_CHAR);
  if (request.dtype == "uint8") return Run<unsigned char>(request, MPI_UNSIGNED_CHAR);
  if (request.dtype == "int32") return Run<int>(request, MPI_INT);
  if (request.dtype == "int64") return Run<long long>(request, MPI_LONG_LONG);
  return "no MPI has no " + request.dtype + "\n";
}

// The connection to rank 0 of the benchmark, or -1.
int Connect(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
  const int connection = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection < 0) return -1;
  if (::connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    return connection;
  }
  ::close(connection);
  return -1;
}

bool Say(int connection, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t sent = ::write(connection, text.data() + done, text.size() - done);
    if (sent <= 0) return false;
    done += static_cast<size_t>(sent);
  }
  return true;
}

void Serve(int connection) {
  FILE* const requests = ::fdopen(connection, "r");
  char line[256];
  while (requests != nullptr && std::fgets(line, sizeof(line), requests) != nullptr) {
    std::istringstream words(line);
    Request request;
    words >> request.verb >> request.kind >> request.tensors >> request.count >> request.dtype >>
        request.op >> request.calls >> request.block;
    if (!Say(connection, Answer(request))) return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const int connection = argc > 1 ? Connect(argv[1]) : -1;
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (connection >= 0 && Say(connection, std::to_string(rank) + "\n")) {
    Serve(connection);
  } else {
    std::fprintf(stderr, "the benchmark's socket is not there\n");
  }
  MPI_Finalize();
  return connection >= 0 ? 0 : 1;
}
