-- What a page needs before smalldocs can show it: numbers for figures, tables, equations and sections,
-- links for references to them, resolved citations, and math as MathML.
-- A problem is one line on stderr that starts with "problem: "; pandoc.py reads these lines.

local NAMES = { fig = "Figure", tbl = "Table", eq = "Equation", sec = "Section" }
local counters = {}
local labels = {} -- label → the inlines that a reference to it shows, without its kind's name

local function problem(text)
  io.stderr:write("problem: " .. text .. "\n")
end

local function kind_of(label)
  local kind = label:lower():match("^(%a+)%-")
  return NAMES[kind] and kind
end

local function number(label)
  local kind = kind_of(label)
  if not kind or kind == "sec" then return nil end
  if labels[label] then
    problem("the label " .. label .. " is given twice")
  end
  counters[kind] = (counters[kind] or 0) + 1
  labels[label] = pandoc.Inlines { pandoc.Str(tostring(counters[kind])) }
  return NAMES[kind] .. "\u{a0}" .. counters[kind]
end

local function mathml(element)
  local options = pandoc.WriterOptions { html_math_method = "mathml" }
  local html = pandoc.write(pandoc.Pandoc { pandoc.Plain { element } }, "html", options)
  local math = html:match("<math.*</math>")
  if not math then
    problem("this math cannot be shown: " .. element.text)
    return pandoc.utils.stringify(element)
  end
  -- smalldocs reads Markdown between inline tags: a character reference is never read as markup.
  return (math:gsub("\n", " "):gsub(">([^<]+)<", function(text)
    return ">" .. text:gsub("[!\"$%%'()*+,%-./:=?@%[\\%]^_`{|}~]", function(c) return "&#" .. c:byte() .. ";" end) .. "<"
  end))
end

-- A paragraph that is one display equation with a label: $$ … $$ {#eq-x}
local function equation(para)
  local math, label = nil, nil
  for _, inline in ipairs(para.content) do
    if inline.t == "Math" and inline.mathtype == "DisplayMath" and not math then
      math = inline
    elseif inline.t == "Str" and inline.text:match("^{#eq%-[%w_-]+}$") then
      label = inline.text:sub(3, -2)
    elseif inline.t ~= "Space" and inline.t ~= "SoftBreak" then
      return nil
    end
  end
  if not (math and label) then return nil end
  number(label)
  local shown = pandoc.utils.stringify(labels[label])
  return pandoc.RawBlock("html", string.format(
    '<div class="medmm-equation" id="%s">%s<span class="medmm-equation-number">(%s)</span></div>', label, mathml(math), shown))
end

local function prefixed(inlines, name)
  local text = pandoc.Inlines { pandoc.Str(name .. ":"), pandoc.Space() }
  text:extend(inlines)
  return text
end

-- `::: {#fig-x}` of Quarto ends with its caption; a notebook's cell carries a div for it (pandoc.py puts it there).
local function labelled_div(div)
  local name = number(div.identifier)
  if not name then return nil end
  if div.classes:includes("cell") then
    div = div:walk {
      Div = function(inner)
        if inner.classes:includes("medmm-caption") and inner.content[1] then
          inner.content[1].content = prefixed(inner.content[1].content, name)
          return inner
        end
      end,
    }
  elseif #div.content > 1 and div.content[#div.content].t == "Para" then
    local caption = div.content[#div.content]
    caption.content = prefixed(caption.content, name)
    div.content[#div.content] = pandoc.Div({ caption }, pandoc.Attr("", { "medmm-caption" }))
  end
  return div
end

local numbering = {
  traverse = "topdown",
  Div = function(div)
    -- a static picture for PDF has no place on a web page
    if div.attributes["unless-format"] == "html" then return {}, false end
    return labelled_div(div)
  end,
  Figure = function(figure)
    local name = number(figure.identifier)
    if not name then return nil end
    local caption = prefixed(pandoc.utils.blocks_to_inlines(figure.caption.long), name)
    figure.caption.long = { pandoc.Plain(caption) }
    return figure:walk {
      Image = function(image)
        image.attributes["fig-alt"] = image.attributes["fig-alt"] or pandoc.utils.stringify(image.caption)
        image.caption = caption
        return image
      end,
    }
  end,
  Table = function(table_)
    local name = number(table_.identifier)
    if not name then return nil end
    local caption = pandoc.utils.blocks_to_inlines(table_.caption.long)
    table_.caption.long = { pandoc.Plain(prefixed(caption, name)) }
    return table_
  end,
  Para = equation,
  Header = function(header)
    if kind_of(header.identifier) == "sec" then
      local title = pandoc.Inlines { pandoc.Str("“") }
      title:extend(header.content)
      title:insert(pandoc.Str("”"))
      labels[header.identifier] = title
    end
  end,
}

local function reference(citation)
  local label = citation.id
  local shown = labels[label] or labels[label:sub(1, 1):lower() .. label:sub(2)]
  if not shown then
    problem("@" .. label .. " refers to nothing on this page")
    return pandoc.Str("@" .. label)
  end
  local text = pandoc.Inlines {}
  if #citation.prefix > 0 then
    text:extend(citation.prefix)
    text:insert(pandoc.Str("\u{a0}"))
  elseif citation.mode ~= "SuppressAuthor" then
    text:insert(pandoc.Str(NAMES[kind_of(label)] .. "\u{a0}"))
  end
  text:extend(shown)
  return pandoc.Link(text, "#" .. label:sub(1, 1):lower() .. label:sub(2), "", pandoc.Attr("", { "quarto-xref" }))
end

local references = {
  Cite = function(cite)
    local links = pandoc.Inlines {}
    for _, citation in ipairs(cite.citations) do
      if not kind_of(citation.id) then return nil end
      if #links > 0 then links:extend { pandoc.Str(","), pandoc.Space() } end
      links:insert(reference(citation))
    end
    return links
  end,
  Math = function(element) return pandoc.RawInline("html", mathml(element)) end,
}

local function with_citations(doc)
  local cited = {}
  doc:walk {
    Cite = function(cite)
      for _, citation in ipairs(cite.citations) do cited[citation.id] = true end
    end,
  }
  if next(cited) == nil then return doc end
  for _, known in ipairs(pandoc.utils.references(doc)) do cited[known.id] = nil end
  for id, _ in pairs(cited) do problem("@" .. id .. " is not in the bibliography") end
  return pandoc.utils.citeproc(doc):walk {
    -- citeproc marks "et al." so; it is no concern of a page, and smalldocs reads no span inside a link.
    Span = function(span)
      if span.classes:includes("nocase") then return span.content end
    end,
    Header = function(header)
      if header.identifier == "bibliography" then
        header.level = 2 -- the page's title is its only heading of level 1
        return header
      end
    end,
  }
end

function Pandoc(doc)
  return with_citations(doc:walk(numbering):walk(references))
end
