-- As much of HTTP/1.1 as the example needs: keep-alive, pipelined requests, bodies with a Content-Length.
local uv = require "luv"

local M = {}

local reasons = { [200] = "OK", [400] = "Bad Request", [404] = "Not Found", [500] = "Internal Server Error" }

local function answer(status, kind, body, is_last)
  return ("HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n%s"):format(
    status, reasons[status] or "Status", kind, #body, is_last and "Connection: close\r\n" or "", body)
end

-- One request from the front of the text. Returns method, path, body, is_last and the rest; nil when more has
-- to come; false when it is none.
local function take_request(text)
  local head, start = text:match("^(.-)\r\n\r\n()")
  if not head then return nil end
  local method, path, version = head:match("^(%u+) (%S+) HTTP/(1%.[01])\r?\n?")
  if not method then return false end
  local headers = head:lower()
  local length = tonumber(headers:match("\ncontent%-length: *(%d+)") or 0)
  if #text - start + 1 < length then return nil end
  local wants = headers:match("\nconnection: *([%w-]+)")
  local is_last = wants == "close" or (version == "1.0" and wants ~= "keep-alive")
  return method, path, text:sub(start, start + length - 1), is_last, text:sub(start + length)
end

local function serve_client(client, handle)
  local text = ""
  client:read_start(function(problem, data)
    if problem or not data then return client:close() end
    text = text .. data
    local answers, is_last = {}, false
    while not is_last do
      local method, path, body, wants_end, rest = take_request(text)
      if method == nil then break end
      is_last = wants_end or not method
      if not method then
        answers[#answers + 1] = answer(400, "text/plain", "this is no HTTP\n", true)
        break
      end
      text = rest
      local ok, status, kind, answered = pcall(handle, method, path, body)
      if not ok then status, kind, answered = 500, "text/plain", tostring(status) .. "\n" end
      answers[#answers + 1] = answer(status, kind, answered, is_last)
    end
    if #answers == 0 then return end
    client:write(table.concat(answers), function()
      if is_last and not client:is_closing() then client:close() end
    end)
  end)
end

--- Serves `handle(method, path, body) -> status, type, body`; port 0 takes a free one.
--- @return userdata the listening socket
function M.serve(host, port, handle)
  local server = uv.new_tcp()
  assert(server:bind(host, port))
  assert(server:listen(128, function(problem)
    assert(not problem, problem)
    local client = uv.new_tcp()
    server:accept(client)
    client:nodelay(true)
    serve_client(client, handle)
  end))
  return server
end

return M
