-- The gallery, run as its READMEs say, with an edit while each runs.
local t = require "hotlua.test"
local uv = require "luv"
local example = dofile "spec/support/example.lua"

local copy, start, edit = example.copy, example.start, example.edit

local function ends_well(output, status)
  t.await(status, 30000)
  assert.are.equal(0, status(), output())
end

local function stop(process, status)
  uv.process_kill(process, "sigterm")
  t.await(status, 10000)
end

local function await_text(output, pattern)
  t.await(function() return output():find(pattern) end, 30000)
end

describe("examples/smallest_loop", function()
  it("goes on from where it was", function()
    local directory = copy "smallest_loop"
    local output, status = start("main.lua 40", directory)
    await_text(output, "\n4%.0\n")
    edit(directory .. "/step.c", "speed = 1%.0", "speed = 0.25")
    ends_well(output, status)
    local before, after = output():match("\n(%d+)%.0\n(%d+)%.25\n")
    assert.are.equal(before, after)
  end)
end)

describe("examples/shared_state", function()
  it("loses no count while threads call and the plugin reloads", function()
    local directory = copy "shared_state"
    local output, status = start("main.lua 4", directory)
    await_text(output, "jobs done")
    edit(directory .. "/counter.c", "return 1;", "return 2;")
    ends_well(output, status)
    assert.matches("counter: generation 2 is live", output())
    assert.matches("weight 2", output())
    local added, counted = output():match("the jobs added (%d+), the plugin counted (%d+)")
    assert.are.equal(added, counted)
  end)
end)

describe("examples/many_plugins", function()
  it("takes in what is changed, new and gone", function()
    local directory = copy "many_plugins"
    local output, status, process = start("main.lua", directory)
    await_text(output, "6%.00  10_double > 20_offset > 30_halve")
    edit(directory .. "/plugins/10_double.c", "2 %* x", "4 * x")
    t.write(directory .. "/plugins/40_negate.c", "double apply(double x) { return -x; }\n")
    assert(os.remove(directory .. "/plugins/30_halve.c"))
    assert(os.execute(("make -s -C '%s'"):format(directory)))
    await_text(output, "%-14%.00  10_double > 20_offset > 40_negate")
    t.write(directory .. "/plugins/50_wrong.c", "int apply(int x) { return x; }\n")
    assert(os.execute(("make -s -C '%s'"):format(directory)))
    await_text(output, "50_wrong.*'apply' is not as `expect` asks")
    stop(process, status)
  end)
end)

describe("examples/generated_types", function()
  it("shows types that nobody declared, and takes in a new field", function()
    local directory = copy "generated_types"
    local output, status, process = start("main.lua", directory)
    await_text(output, "struct shape { kind = CIRCLE, centre = .-, size = 2")
    await_text(output, "int add_shape%(struct shape")
    await_text(output, "area 9%.00")
    edit(directory .. "/scene.c", "    double size;", "    double size;\n    int colour;")
    await_text(output, "size = 3.0, colour = 0")
    stop(process, status)
    local pipe = assert(io.popen(("'%s' stubs '%s/build/scene.so'"):format(uv.exepath(), directory)))
    local stubs = pipe:read("a")
    assert.is_true(pipe:close())
    assert.matches("%-%-%-@class scene%.shape", stubs)
  end)
end)

describe("examples/library_under_test", function()
  local function test(directory)
    local output, status = start("test", directory)
    t.await(status, 60000)
    return output(), status()
  end

  it("passes, and fails with the library", function()
    local directory = copy "library_under_test"
    local output, status = test(directory)
    assert.are.equal(0, status, output)
    assert.matches("4 successes / 0 failures", output)
    edit(directory .. "/ring.c", "count%-%-;", "")
    output, status = test(directory)
    assert.are_not.equal(0, status)
    assert.matches("gives back in order", output)
  end)
end)

-- Requests over one connection, one after the other, until `is_over()`; counts answers by status and body.
local function new_client(port, is_over, answers)
  local client, received = uv.new_tcp(), ""
  local function ask() client:write("GET /hello HTTP/1.1\r\nHost: here\r\n\r\n") end
  client:connect("127.0.0.1", port, function(problem)
    assert(not problem, problem)
    ask()
    client:read_start(function(failure, data)
      if not data then
        answers.failed = answers.failed + 1
        return client:close()
      end
      assert(not failure, failure)
      received = received .. data
      local status, length, start_of_body = received:match("^HTTP/1.1 (%d+).-Content%-Length: (%d+).-\r\n\r\n()")
      if not status or #received < start_of_body + length - 1 then return end
      local body = received:sub(start_of_body, start_of_body + length - 1)
      received = received:sub(start_of_body + length)
      local kind = status .. " " .. body:match("^%a*")
      answers[kind] = (answers[kind] or 0) + 1
      if is_over() then return client:close() end
      ask()
    end)
  end)
  return client
end

describe("examples/http_service", function()
  it("reloads its handlers under load without a failed request", function()
    local directory = copy "http_service"
    local output, status, process = start("main.lua 0", directory)
    await_text(output, "listening")
    local port = tonumber(output():match("127.0.0.1:(%d+)"))
    local answers, is_over, clients = { failed = 0 }, false, {}
    for i = 1, 8 do clients[i] = new_client(port, function() return is_over end, answers) end
    t.await(function() return (answers["200 Hello"] or 0) > 100 end, 10000)
    edit(directory .. "/handlers.c", "Hello!", "Welcome!")
    t.await(function() return (answers["200 Welcome"] or 0) > 100 end, 30000)
    edit(directory .. "/handlers.c", "ok\\n", "no") -- and the next is refused by its rehearsal
    edit(directory .. "/handlers.c", "{200,", "{503,")
    await_text(output, "/health is not well")
    local before = answers["200 Welcome"]
    t.await(function() return answers["200 Welcome"] > before + 100 end, 10000)
    is_over = true
    t.await(function()
      for _, client in ipairs(clients) do if not client:is_closing() then return false end end
      return true
    end, 10000)
    assert.are.same({ "200 Hello", "200 Welcome", "failed" }, (function()
      local kinds = {}
      for kind in pairs(answers) do kinds[#kinds + 1] = kind end
      table.sort(kinds)
      return kinds
    end)())
    assert.are.equal(0, answers.failed)
    stop(process, status)
  end)
end)

describe("examples/game", function()
  it("keeps its balls where they are while the physics changes", function()
    local directory = copy "game"
    local output, status = start("main.lua 120", directory)
    await_text(output, "frame 20:")
    edit(directory .. "/physics.c", "vx, vy;", "vx, vy, spin;")
    await_text(output, "physics: generation 2 is live.*converted 1")
    ends_well(output, status)
    local last
    for frame, x, y in output():gmatch("frame (%d+): ball 0 at ([%d.]+), ([%d.-]+)") do
      last = tonumber(frame)
      assert.is_true(tonumber(x) >= 0 and tonumber(x) <= 59 and tonumber(y) <= 17)
    end
    assert.are.equal(120, last)
  end)
end)

describe("examples/tuned", function()
  it("takes what is right and quick enough, and nothing else", function()
    local directory = copy "tuned"
    local output, status, process = start("main.lua", directory)
    await_text(output, "generation 1:")
    edit(directory .. "/kernel.c", "1%.0 / %(%(double%)k %* k%)", "(k %% 2 ? 1.0 : 1.1) / ((double)k * k)")
    await_text(output, "refused: .*kernel_spec.lua: %d+ success")
    edit(directory .. "/kernel.c", "%(k %% 2 %? 1%.0 : 1%.1%)",
      "(k > 30 ? 1.001 : 1.0)") -- its spec does not see that
    await_text(output, "refused: .*calls differ")
    edit(directory .. "/kernel.c", "%(k > 30 %? 1%.001 : 1%.0%)", "1.0")
    edit(directory .. "/kernel.c", "for %(int k = n; k >= 1; k%-%-%)\n        sum",
      "for (volatile int i = 0; i < 20 * n; i++)\n        ;\n    for (int k = n; k >= 1; k--)\n        sum")
    await_text(output, "refused: .*more than 1.1 times")
    stop(process, status)
    assert.not_matches("generation 2", output())
  end)
end)
