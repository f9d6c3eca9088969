/* Search without a server: a page that is opened as a file may start no worker, so its script runs in a hidden frame.
   The generator would fetch the package iframe-worker from a CDN for this; it leaves that where a file has its name. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const inner = (this.inner = this.frame.contentWindow);
      inner.postMessage = (data) => this.tell(new MessageEvent("message", { data }));
      inner.addEventListener("error", (event) => this.tell(new ErrorEvent("error", { message: event.message })));
      const script = inner.document.createElement("script");
      script.src = new URL(url, document.baseURI).href;
      script.onload = () => this.loaded();
      script.onerror = () => this.tell(new ErrorEvent("error", { message: "no script " + script.src }));
      inner.document.body.appendChild(script);
    }
    loaded() {
      const waiting = this.waiting;
      this.waiting = null;
      waiting.forEach((data) => this.postMessage(data));
    }
    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.inner.dispatchEvent(new MessageEvent("message", { data: structuredClone(data) }));
    }
    tell(event) {
      setTimeout(() => {
        this.dispatchEvent(event);
        if (this["on" + event.type]) this["on" + event.type](event);
      });
    }
    terminate() {
      this.frame.remove();
    }
  };
}
