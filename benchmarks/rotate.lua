-- wrk asks for the paths of a file, one after the other; at the end it says what became of that.
local requests, count, last = {}, 0, 0

function init(arguments)
   for path in io.lines(arguments[1]) do
      count = count + 1
      requests[count] = wrk.format("GET", path)
   end
end

function request()
   last = last % count + 1
   return requests[last]
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format("RESULT %d %d %d %d %d %.0f %.0f\n", summary.duration, summary.requests, summary.bytes,
      errors.connect + errors.read + errors.write + errors.timeout, errors.status,
      latency:percentile(50), latency:percentile(99)))
end
