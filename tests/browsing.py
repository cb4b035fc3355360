"""Opens pages in a browser engine and says what is wrong with them.

  python tests/browsing.py [--dark] [--pictures=DIR] PAGE...

Each page is laid out 1200 and 400 pixels wide, in light or dark colours. Errors
in the console, requests of anything but the page, content wider than the
window, headings that leave out a level, pictures without a text, and text whose
contrast is below that of WCAG 2.2 AA are printed, one a line. The status is 1
if there are any. It needs `pip install -e '.[browser]'`.
"""

import argparse
import json
import os
import pathlib
import sys

WIDTHS = (1200, 400)
ROWS = 'document.documentElement.scrollHeight'
FOUND = pathlib.Path(__file__).with_suffix('.js').read_text()


def browse(pages, dark: bool, pictures: pathlib.Path | None) -> list[str]:
  """What is wrong, each with the page and the width."""
  os.environ.setdefault('QT_QPA_PLATFORM', 'offscreen')
  os.environ['QTWEBENGINE_CHROMIUM_FLAGS'] = (
    f'--no-sandbox --disable-gpu --blink-settings=preferredColorScheme='
    f'{0 if dark else 1}'
  )
  from PySide6.QtCore import QEventLoop, QTimer, QUrl
  from PySide6.QtWebEngineCore import (
    QWebEnginePage,
    QWebEngineProfile,
    QWebEngineSettings,
    QWebEngineUrlRequestInterceptor,
  )
  from PySide6.QtWebEngineWidgets import QWebEngineView
  from PySide6.QtWidgets import QApplication

  application = QApplication.instance() or QApplication(sys.argv[:1])
  found: list[str] = []

  class Page(QWebEnginePage):
    def javaScriptConsoleMessage(self, level, message, line, source):
      found.append(f'{self.objectName()} says in the console: {message}')

  class Requests(QWebEngineUrlRequestInterceptor):
    def interceptRequest(self, info):
      url = info.requestUrl()
      if url.scheme() not in ('file', 'data', 'blob'):
        found.append(f'asks for {url.toString()[:80]}')

  def wait(start, signal=None, seconds=60.0):
    loop, got = QEventLoop(), []

    def done(*values):
      got.extend(values)
      loop.quit()

    if signal is not None:
      signal.connect(done)
    QTimer.singleShot(int(1000 * seconds), loop.quit)
    start(done)
    loop.exec()
    return got

  profile, requests = QWebEngineProfile(), Requests()  # keeps nothing
  profile.setUrlRequestInterceptor(requests)
  for path in pages:
    for width in WIDTHS:
      view = QWebEngineView()
      page = Page(profile, view)
      name = f'{path.name} at {width}'
      page.setObjectName(name)
      # Otherwise a file asks for nothing, even if it wants to.
      page.settings().setAttribute(
        QWebEngineSettings.WebAttribute.LocalContentCanAccessRemoteUrls, True
      )
      view.setPage(page)
      view.resize(width, 900)
      view.show()
      url = QUrl.fromLocalFile(str(path.resolve()))
      wait(lambda _, url=url, view=view: view.load(url), page.loadFinished)
      wait(lambda _: None, seconds=1.0)  # until it is laid out
      (told,) = wait(lambda done, page=page: page.runJavaScript(FOUND, 0, done))
      found += [f'{name} {each}' for each in json.loads(told)]
      if pictures:
        (rows,) = wait(
          lambda done, page=page: page.runJavaScript(ROWS, 0, done)
        )
        view.resize(width, min(int(rows), 16000))
        wait(lambda _: None, seconds=2.0)
        scheme = 'dark' if dark else 'light'
        view.grab().save(str(pictures / f'{path.stem}-{width}-{scheme}.png'))
      view.close()
  application.processEvents()
  return found


def main(arguments) -> int:
  parser = argparse.ArgumentParser(allow_abbrev=False)
  parser.add_argument('pages', nargs='+', type=pathlib.Path)
  parser.add_argument('--dark', action='store_true')
  parser.add_argument('--pictures', type=pathlib.Path)
  given = parser.parse_args(arguments)
  found = browse(given.pages, given.dark, given.pictures)
  print('\n'.join(found) or f'Nothing is wrong with {len(given.pages)} pages.')
  return int(bool(found))


if __name__ == '__main__':
  status = main(sys.argv[1:])
  sys.stdout.flush()
  os._exit(status)  # at its own end, the engine complains of open pages
